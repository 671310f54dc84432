"""The probe: tests on a workspace what we assume of the API, by reading alone, and reports it without a value of it.

answers      sends the requests, slowly, and keeps the answers
survey       what is asked of more than one check's account: the lists, their pages, counts and ends
checks/      one check for each row of the assumptions in CONTRIBUTING.md; `checks.CHECKS` is the table
forms        what is shown in the place of a value
facts        columns, statuses, headers and times, over all answers
report       the report, in Markdown
cassette     the answers, scrubbed, to be replayed by a test
"""
