"""The probe: tests on a workspace what we assume of the API, by reading alone, and reports it without a value of it.

    __main__     the command: asks, runs, writes
    run          all checks in their order
    checks/      one check for each row of the assumptions in CONTRIBUTING.md; `checks.CHECKS` is the table
    survey       what more than one check wants to know: lists, their pages, counts and ends
    answers      sends the requests, slowly, and keeps the answers
    findings     what a check says of its row
    assumptions  the table of CONTRIBUTING.md
    documented   which columns, and which types, are documented
    forms        what is shown in the place of a value
    headers      the names of headers that are shown as they are
    facts        columns, statuses, headers, fields and times, over all answers
    report       the report, in Markdown
    scrub        replaces each value by another one of its form
    cassette     the answers, scrubbed, to be replayed by a test

A check asks through the survey, and says what it found; only `forms` and what is documented go into the words for it.
"""
