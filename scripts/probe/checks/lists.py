"""Checks of lists: cursors, ends, counts, orders and ids."""

from __future__ import annotations

import itertools
import time
from datetime import datetime
from typing import TYPE_CHECKING, Any

from scripts.probe.answers import NO_META
from scripts.probe.findings import (
    ENOUGH_RECORDS,
    Finding,
    Mistake,
    UntoldError,
    broken,
    judged,
    mistake,
    mistake_of_all,
    too_little,
    untold,
)
from scripts.probe.forms import forms_of, key_form
from scripts.probe.survey import texts, whole

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from scripts.probe.answers import Answer
    from scripts.probe.survey import Listing, Survey

LIFETIME = 60.0
"""Seconds after which a cursor is sent once more."""
_SMALL_PAGE = 2
_PAIR = 2
"""So many records it takes to be in order, or to be two."""
_SOME = 10
"""So many records it takes to tell of an order, or of what is unique."""
_LISTS = 3
"""So many lists it takes to tell of all lists of a kind."""
_PAGES = 3
"""So many small pages are joined, and compared with a large one."""
_WINDOW = 10
"""So many of the latest activities are walked in pages of a few."""


# Cursors


def _first_page(survey: Survey) -> tuple[Listing, Answer]:
    """Return a small page that others follow, of the first list that has one."""
    for listing in survey.listings:
        order = {"sort": listing.order, "direction": "asc"} if listing.order else {}
        answer = survey.ask(listing.row.path, {**listing.slice, **order, "limit": str(_SMALL_PAGE)})
        if answer.ok and answer.cursor:
            return listing, answer
    raise UntoldError("no list has more than two records")


def open_cursor(survey: Survey) -> None:
    """Follow a cursor for the first time: the clock for its age runs from here."""
    _, page = _first_page(survey)
    survey.ask(page.path, {**page.params, "cursor": page.cursor})


def cursor_lives(survey: Survey) -> Finding:
    """Check that a cursor returns the same page twice, and after a minute."""
    _, page = _first_page(survey)
    followed = {**page.params, "cursor": page.cursor}
    first = whole(_first_answer(survey, survey.ask(page.path, followed)))
    again = survey.ask(page.path, followed, again=True)
    time.sleep(max(0.0, page.at + LIFETIME - time.time()))
    late = survey.ask(page.path, followed, again=True)
    if not first.rows:
        return untold("too little to tell: the page that it leads to is empty")
    age = late.at - page.at
    mistakes: list[Mistake] = []
    unsure: list[str] = []
    if _shared(page, first):
        mistakes.append(mistake_of_all("the page that it leads to has records of the first one", page, first))
    for when, answer in (("a second time", again), (f"after {age:.0f} s", late)):
        told = f"{when} it is answered {answer.said}"
        if answer.denied:
            mistakes.append(mistake(told, answer))
        elif not answer.ok:
            unsure.append(told)
        elif _ids(answer.rows) != _ids(first.rows):
            if _follows_today(survey, page) == _ids(answer.rows):
                unsure.append("the list changed meanwhile")
            else:
                mistakes.append(mistake(f"{when} another page is returned", answer))
    return judged(mistakes, f"followed twice, and after {age:.0f} s", unsure=unsure)


def _first_answer(survey: Survey, answer: Answer) -> Answer:
    """Return what was answered to a question first: it may have been asked again since."""
    return next((each for each in survey.client.answers if each.ok and each.question == answer.question), answer)


def _follows_today(survey: Survey, page: Answer) -> list[str]:
    """Return the ids behind a first page, by a cursor of now."""
    fresh = survey.ask(page.path, page.params, again=True)
    return _ids(survey.ask(page.path, {**page.params, "cursor": fresh.cursor}).rows) if fresh.cursor else []


def _shared(page: Answer, following: Answer) -> set[str]:
    return set(_ids(page.rows)) & set(_ids(following.rows))


def cursor_is_bound(survey: Survey) -> Finding:
    """Check that a cursor is refused with another `limit`, and with another direction."""
    listing, page = _first_page(survey)
    followed = {**page.params, "cursor": page.cursor}
    changes = {"another `limit`": {"limit": str(_SMALL_PAGE + 1)}}
    if listing.order:
        changes["another direction"] = {"direction": "desc"}
    answers = {what: survey.ask_too_much(page.path, {**followed, **change}) for what, change in changes.items()}
    taken = [mistake(f"it is taken with {what}", answer) for what, answer in answers.items() if answer.ok]
    return judged(
        taken,
        *(f"with {what} it is answered {answer.said}" for what, answer in answers.items()),
        unsure=[f"the question with {what} failed" for what, answer in answers.items() if _silent(answer)],
    )


def joined_pages(survey: Survey) -> Finding:
    """Check that small pages, joined, are the beginning of a large one, so that cursors lose and repeat nothing.

    What they name or count shows only when records are created or deleted between two pages.
    """
    listing, first = _first_page(survey)
    cursors = forms_of({answer.cursor for answer in survey.client.answers if answer.cursor})
    large = whole(survey.thin(listing))
    pages = [first]
    while len(pages) < _PAGES and pages[-1].cursor:
        pages.append(whole(survey.ask(first.path, {**first.params, "cursor": pages[-1].cursor})))
    ids = [each for page in pages for each in _ids(page.rows)]
    told = f"{len(pages)} pages of {_SMALL_PAGE} of {listing.name}, joined"
    forms = f"cursors: {cursors}"
    if ids == _ids(large.rows)[: len(ids)]:
        too_few = too_little(len(ids), _SMALL_PAGE * _PAGES, "records on small pages")
        return judged([], f"{told}, are as a large page", forms, unsure=too_few)
    # They were asked for at different times. So all once more, with a large page before and after.
    before, again = survey.thin(listing, again=True), [survey.ask(first.path, first.params, again=True)]
    while len(again) < _PAGES and again[-1].ok and again[-1].cursor:
        again.append(survey.ask(first.path, {**first.params, "cursor": again[-1].cursor}, again=True))
    after = survey.thin(listing, again=True)
    ids = [each for page in again for each in _ids(page.rows)]
    if not all(page.ok for page in (before, *again, after)):
        return untold("a page of them failed", forms)
    if ids == _ids(after.rows)[: len(ids)]:
        return untold("records were created or deleted meanwhile", forms)
    if _ids(before.rows) != _ids(after.rows):
        return untold("records are created or deleted all the time", forms)
    missing = len(set(_ids(after.rows)[: len(ids)]) - set(ids))
    return broken(f"{told}, lack {missing} records of a large page", f"{len(ids) - len(set(ids))} come twice", forms)


# Ends


def _ends(survey: Survey, page: str) -> tuple[dict[str, list[Answer]], list[str]]:
    """Return the last pages of the lists of a kind, and the lists whose end is out of reach."""
    found: dict[str, list[Answer]] = {}
    beyond = []
    for listing in survey.leading:
        if listing.row.page == page:
            if ends := survey.ends(listing):
                found[listing.name] = ends
            else:
                beyond.append(listing.name)
    if not found:
        raise UntoldError("no last page is within reach")
    return found, beyond


def _end_form(answer: Answer) -> str:
    if "nextCursor" not in answer.meta:
        return "absent, and so is all of `meta`" if answer.meta is NO_META else "absent"
    return (
        "null"
        if answer.meta["nextCursor"] is None
        else "an empty text"
        if answer.meta["nextCursor"] == ""
        else "a value"
    )


def _told_ends(forms: Mapping[str, str], beyond: Sequence[str]) -> str:
    by_form = {form: [name for name, found in forms.items() if found == form] for form in sorted(set(forms.values()))}
    told = "; ".join(f"{form} at the end of {', '.join(names)}" for form, names in by_form.items())
    return told + (f"; not reached: {', '.join(beyond)}" if beyond else "")


def required_cursor(survey: Survey) -> Finding:
    """Check that `nextCursor` is null on last pages if it is required."""
    ends, beyond = _ends(survey, "paged")
    forms = {name: _end_form(found[-1]) for name, found in ends.items()}
    return judged(
        [mistake(f"{name}: {form}", ends[name][-1]) for name, form in forms.items() if form != "null"],
        _told_ends(forms, beyond),
        unsure=_too_few_ends(ends),
    )


def _too_few_ends(ends: Mapping[str, list[Answer]]) -> list[str]:
    return too_little(sum(bool(found[-1].rows) for found in ends.values()), _LISTS, "last pages with records")


def optional_cursor(survey: Survey) -> Finding:
    """Check that `meta` is there in any case, and `nextCursor` on every full page that others follow."""
    ends, beyond = _ends(survey, "paged_open")
    forms = {name: _end_form(found[-1]) for name, found in ends.items()}
    mistakes = [mistake(f"{name}: no `meta`", found[-1]) for name, found in ends.items() if found[-1].meta is NO_META]
    unsure = _too_few_ends(ends)
    for listing in survey.leading:
        if listing.row.page != "paged_open" or not listing.counts:
            continue
        if not _ends_too_early(survey.full(listing), survey.counted(listing)):
            continue
        # The two were asked for at different times. So once more, with a count before and after.
        before, page = survey.counted(listing, again=True), survey.full(listing)
        page = survey.ask(page.path, page.params, again=True)
        after = survey.counted(listing, again=True)
        if not page.ok or before.count is None or before.count != after.count:
            unsure.append(f"{listing.name} changed meanwhile")
        elif _ends_too_early(page, after):
            mistakes.append(mistake(f"{listing.name}: none on a page of {len(page.rows)} of {after.count}", page))
    return judged(mistakes, _told_ends(forms, beyond), unsure=unsure)


def _ends_too_early(page: Answer, counted: Answer) -> bool:
    """Tell whether a full page names no next one, and fewer records are on it than were counted."""
    full = page.ok and not page.cursor and len(page.rows) == int(page.params["limit"])
    return full and counted.count is not None and counted.count > len(page.rows)


# Counts


def exact_counts(survey: Survey) -> Finding:
    """Check that counts equal what small lists return, and a walk of the latest activities in small pages."""
    counted: dict[str, tuple[int, int]] = {}
    seen: dict[str, Answer] = {}
    changed = []
    for listing in survey.leading:
        page = survey.full(listing) if listing.counts else None
        if page is None or not page.ok:
            continue
        if not page.cursor and survey.counted(listing).count is not None:
            if pair := _compared(survey, listing):
                counted[listing.name], seen[listing.name] = pair, survey.full(listing)
            else:
                changed.append(listing.name)
        for end in survey.ends(listing) if page.cursor else ():
            # The end of a part of it, if a filter names one.
            if end.count is not None and "cursor" not in end.params:
                counted[f"{listing.name}, a part"] = (len(end.rows), end.count)
                seen[f"{listing.name}, a part"] = end
    try:
        if walked := _walk_of_activities(survey):
            counted[_LATEST], seen[_LATEST] = walked[1:], walked[0]
    except UntoldError:
        changed.append("activities")
    # A full page may hold fewer than all.
    small = {name: pair for name, pair in counted.items() if pair[0] < survey.page_size and any(pair)}
    if not small:
        return untold("too little to tell: no list is small enough, and has any")
    mistakes = [
        mistake(f"{name}: counted {count}, returned {number}", seen[name])
        for name, (number, count) in small.items()
        if number != count
    ]
    return judged(
        mistakes,
        f"compared {len(small)} lists of {', '.join(str(number) for number, _ in small.values())} records",
        unsure=[
            *(f"{name} changed meanwhile" for name in changed),
            *too_little(max(number for number, _ in small.values()), _SOME, "records in the longest of them"),
        ],
    )


def _compared(survey: Survey, listing: Listing) -> tuple[int, int] | None:
    """Return how many records a list of one page has, and how many are counted; None if it changes meanwhile."""
    page, count = survey.full(listing), survey.counted(listing).count
    if count is None or len(page.rows) == count:
        return len(page.rows), len(page.rows) if count is None else count
    # The two were asked for at different times. So once more, with a count before and after.
    before = survey.counted(listing, again=True).count
    page = survey.ask(page.path, page.params, again=True)
    after = survey.counted(listing, again=True).count
    return (len(page.rows), after) if page.ok and after is not None and before == after else None


_LATEST = "activities, the latest"


def _walk_of_activities(survey: Survey) -> tuple[Answer, int, int] | None:
    """Walk the latest activities in small pages; return the first one, how many were returned, and how many counted.

    :raises UntoldError: if that changes meanwhile
    """
    listing = survey.listing("activities")
    latest = sorted(texts(survey.thin(listing, "desc").rows, "activityTime"))[-_WINDOW:]
    if not latest:
        return None
    params = {"startDate": latest[0], "sort": "activityTime", "direction": "asc", "limit": str(_WINDOW // 2)}
    page = first = survey.ask(listing.row.path, {**params, "cols": "recordCount"})
    count, number = page.count, len(page.rows)
    while page.ok and page.cursor and number <= 2 * _WINDOW:
        page = survey.ask(listing.row.path, {**params, "cols": "recordCount", "cursor": page.cursor})
        number += len(page.rows)
    ended = page.ok and not page.cursor
    if ended and number != count:
        again = survey.ask(listing.row.path, {**params, "cols": "recordCount"}, again=True)
        if again.count != count:
            raise UntoldError("activities changed meanwhile")
    return (first, number, count) if count is not None and ended else None


def counted_activities(survey: Survey) -> Finding:
    """Check that activities are counted beside other columns, on the first page and on the next one."""
    listing = survey.listing("activities")
    alone = survey.counted(listing).count
    if not whole(survey.thin(listing)).rows:
        return untold("too little to tell: there are no activities")
    if survey.counts_beside.denied:
        told = f"beside columns it is answered {survey.counts_beside.said}"
        return broken(told, f"alone: {alone}", seen_in=((survey.counts_beside,),))
    pages = dict(zip(("the first page", "the next page"), _two_pages(survey), strict=False))
    mistakes = [mistake(f"not on {name}", page) for name, page in pages.items() if page.ok and page.count is None]
    mistakes += [mistake(f"{name} is answered {page.said}", page) for name, page in pages.items() if page.denied]
    unsure = [f"{name} is answered {page.said}" for name, page in pages.items() if not page.ok and not page.denied]
    counts = {page.count for page in pages.values() if page.count is not None}
    told = f"on {', and '.join(pages)}: {', '.join(map(str, sorted(counts))) or 'nothing'}; alone: {alone}"
    return judged(mistakes, told, unsure=unsure)


def _two_pages(survey: Survey) -> list[Answer]:
    """Return the first two pages of activities with all columns, or the only one."""
    listing = survey.listing("activities")
    first = whole(survey.full(listing))
    following = [survey.ask(listing.row.path, {**first.params, "cursor": first.cursor})] if first.cursor else []
    return [first, *following]


def counted_alone(survey: Survey) -> Finding:
    """Check that other lists are counted on a page of one row, with the highest id if they are sorted by it."""
    counts: dict[str, int] = {}
    mistakes: list[Mistake] = []
    unsure: list[str] = []
    for listing in survey.leading:
        if not listing.row.counts or not survey.thin(listing).ok:
            continue
        answer = survey.counted(listing)
        if answer.count is None:
            told = f"{listing.name}: not counted ({answer.said})"
            if answer.denied or (answer.ok and answer.meta is not NO_META):
                mistakes.append(mistake(told, answer))
            else:
                # Without `meta` there is no place for it, and another row says so.
                unsure.append(told)
            continue
        counts[listing.name] = answer.count
        if not listing.order:
            continue
        first = _is_first(survey, listing, answer)
        if first is None:
            unsure.append(f"{listing.name}: changed meanwhile")
        elif not first:
            mistakes.append(mistake(f"{listing.name}: not with the first row of the list downwards", answer))
    if not counts and not mistakes:
        return untold("none of them could be read", *unsure)
    if not mistakes and not any(counts.values()):
        return untold("too little to tell: all of them are empty")
    told = ", ".join(f"{name} {count}" for name, count in counts.items())
    unsure += too_little(sum(map(bool, counts.values())), _PAIR, "counted lists that aren't empty")
    return judged(mistakes, f"counted: {told or 'nothing'}", unsure=unsure)


def _is_first(survey: Survey, listing: Listing, counted: Answer) -> bool | None:
    """Tell whether a list is counted with its first row downwards; None if that changes, or fails."""
    down = survey.thin(listing, "desc")
    if down.ok and _ids(counted.rows) == _ids(down.rows)[:1]:
        return True
    # The two were asked for at different times.
    before, down = survey.counted(listing, again=True), survey.thin(listing, "desc", again=True)
    after = survey.counted(listing, again=True)
    steady = before.ok and after.ok and down.ok and _ids(before.rows) == _ids(after.rows)
    return _ids(after.rows) == _ids(down.rows)[:1] if steady else None


def not_counted(survey: Survey) -> Finding:
    """Check that lists without a documented count have none."""
    uncounted = [listing for listing in survey.leading if not listing.counts and survey.thin(listing).ok][:_LISTS]
    answers = {
        listing.name: survey.ask_too_much(listing.row.path, {"limit": "1", "cols": "recordCount"})
        for listing in uncounted
    }
    if not answers:
        return untold("none of them could be read")
    counted = [mistake(f"{name} is counted", answer) for name, answer in answers.items() if answer.count is not None]
    return judged(
        counted,
        *(f"{name} answers {answer.said}" for name, answer in answers.items()),
        unsure=[
            *(f"the question of {name} failed" for name, answer in answers.items() if _silent(answer)),
            *(f"{name} answers no `meta`" for name, answer in answers.items() if answer.ok and answer.meta is NO_META),
        ],
    )


# Orders and ids


def order_by_id(survey: Survey) -> Finding:
    """Check that lists are sorted by the number of the id, upwards and downwards."""
    mistakes: list[Mistake] = []
    told: list[str] = []
    without: list[str] = []
    unsure: list[str] = []
    records, lengths = 0, 0
    for listing in survey.leading:
        up, down = (survey.thin(listing), survey.thin(listing, "desc")) if listing.row.both_ends else (None, None)
        if up is None or down is None or not up.ok or len(up.rows) < _PAIR:
            continue
        numbers = _numbers(up.rows)
        if not numbers or None in numbers:
            without.append(f"{listing.name} ({forms_of(_ids(up.rows))})")
            continue
        mistakes += [mistake_of_all(f"{listing.name} {wrong}", *seen) for wrong, *seen in _disorder(up, down)]
        if not down.ok and not down.denied:
            unsure.append(f"{listing.name} downwards is answered {down.said}")
        told.append(f"{listing.name} ({forms_of(_ids([*up.rows, *down.rows]))})")
        records = max(records, len(up.rows))
        lengths = max(lengths, len({len(str(number)) for number in _known([*numbers, *_numbers(down.rows)])}))
    if not told:
        return untold("no list has ids with numbers" if without else "too little to tell: no list has two", *without)
    if lengths < _PAIR:
        # Then the order of the numbers is that of the texts.
        unsure.append("all numbers of a list have as many digits")
    return judged(
        mistakes,
        f"first and last pages of {', '.join(told)}",
        f"no numbers: {', '.join(without)}" if without else "",
        unsure=[*unsure, *too_little(records, _SOME, "records in a list")],
    )


def _disorder(up: Answer, down: Answer) -> Iterator[tuple[str, Answer] | tuple[str, Answer, Answer]]:
    """Yield what is wrong with the order of a list, and the pages that show it."""
    numbers, downwards = _numbers(up.rows), _numbers(down.rows)
    if not _ascend(numbers):
        yield "isn't sorted upwards", up
    if down.denied:
        yield f"downwards is answered {down.said}", down
    elif down.ok and not _ascend(downwards[::-1]):
        yield "isn't sorted downwards", down
    elif down.ok and max(_known(numbers)) > max(_known(downwards), default=-1):
        yield "downwards isn't the reverse of upwards", up, down


def order_by_time(survey: Survey) -> Finding:
    """Check that activities are sorted by time, on the first pages and the last one, upwards and downwards."""
    listing = survey.listing("activities")
    up, down = whole(survey.thin(listing)), whole(survey.thin(listing, "desc"))
    first, last = _moments(up.rows), _moments(down.rows)[::-1]
    if min(len(first), len(last)) < _PAIR:
        return untold("too little to tell: there are no two activities with a time")
    pages = {"the first page": ([up], first), "the last page, downwards": ([down], last)}
    if up.cursor:
        two = _two_pages(survey)
        pages["the first two pages"] = (two, [each for page in two for each in _moments(page.rows)])
    for end in survey.ends(listing):
        pages["the last page, upwards"] = ([end], _moments(end.rows))
    mistakes = [
        mistake_of_all(f"out of order: {name}", *seen)
        for name, (seen, times) in pages.items()
        if times != sorted(times)
    ]
    if min(first) > min(last):
        mistakes.append(mistake_of_all("downwards isn't the reverse of upwards", up, down))
    return judged(
        mistakes,
        f"{', '.join(pages)}: {sum(len(times) for _, times in pages.values())} activities",
        unsure=too_little(len(set(first)), _SOME, "different times on the first page"),
    )


def _moments(rows: Sequence[Mapping[str, Any]]) -> list[datetime]:
    """Return the times of activities, however they are written."""
    found = []
    for row in rows:
        try:
            moment = datetime.fromisoformat(str(row.get("activityTime")))
        except ValueError:
            continue
        if moment.tzinfo:
            found.append(moment)
    return found


def remember_highest(survey: Survey) -> None:
    """Ask for the counts and highest ids that :func:`growing_ids` compares with."""
    for name in ("contacts", "organizations"):
        survey.highest[name] = survey.counted(survey.listing(name))


def growing_ids(survey: Survey) -> Finding:
    """Check that a list that has grown during the run has a higher highest id."""
    missed: list[str] = []
    grown: list[str] = []
    without: list[str] = []
    for name in ("contacts", "organizations"):
        listing = survey.listing(name)
        before = survey.highest.get(name) or survey.counted(listing)
        after = survey.counted(listing, again=True)
        if before.count is None or after.count is None or after.count <= before.count:
            continue
        new = f"{name}: {after.count - before.count} more"
        highest = [_known(_numbers(answer.rows)) for answer in (before, after)]
        if not all(highest):
            without.append(f"the ids of {name} have no numbers")
            continue
        (grown if highest[1] > highest[0] else missed).append(new)
    if without and not missed:
        return untold(*without)
    if not grown and not missed:
        return untold("no record was created meanwhile, and records don't say when they were")
    return judged(
        # What was counted and listed at two times stays so, however often it is asked for.
        [mistake(f"{new}, and the highest id is as before") for new in missed],
        *(f"{new}, with a higher id" for new in grown),
    )


def unique_ids(survey: Survey) -> Finding:
    """Check that no id is returned twice on a page. Visits have a row of their own."""
    pages = {name: answer for name, answer in survey.read.items() if name != "website_visits"}
    ids = {name: _ids(answer.rows) for name, answer in pages.items()}
    mistakes = [
        mistake(f"{name}: {len(found) - len(set(found))} are returned twice", pages[name])
        for name, found in ids.items()
        if len(found) > len(set(found))
    ]
    return judged(
        mistakes,
        f"{sum(map(len, ids.values()))} ids of {len(ids)} lists",
        "whether one is used again can't be told",
        unsure=too_little(max(map(len, ids.values()), default=0), _SOME, "ids in a list"),
    )


def visit_ids(survey: Survey) -> Finding:
    """Check that ids of visits are unique on a page, and tell whether they are the same on another one."""
    listing = survey.listing("website_visits")
    page = whole(survey.full(listing))
    ids = _ids(page.rows)
    short = survey.ask(listing.row.path, {"limit": str(_SMALL_PAGE + 1)})
    same = "the same" if _ids(short.rows) == ids[: _SMALL_PAGE + 1] else "others"
    twice = len(ids) - len(set(ids))
    return judged(
        [mistake(f"{twice} are returned twice", page)] if twice else [],
        forms_of(ids),
        f"with another `limit`, the first ids are {same}",
        unsure=too_little(len(ids), _SOME, "visits"),
    )


def no_changes(survey: Survey) -> Finding:
    """Check that no record says when it was changed, deleted or merged."""
    pages = {name: answer for name, answer in survey.read.items() if answer.rows}
    telling = {
        f"{name}: `{key_form(key)}`": answer
        for name, answer in pages.items()
        for row in answer.rows
        for key in row
        if any(word in key.casefold() for word in ("updated", "modified", "deleted", "merged"))
    }
    records = sum(len(answer.rows) for answer in pages.values())
    return judged(
        [mistake(name, answer) for name, answer in sorted(telling.items(), key=lambda item: item[0])],
        f"{records} records of {len(pages)} lists have no such field" if not telling else "",
        unsure=[
            *too_little(records, ENOUGH_RECORDS, "records"),
            *too_little(len(pages), _LISTS, "lists that have any"),
        ],
    )


def _ids(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    return [str(row["id"]) for row in rows if row.get("id") is not None]


def _numbers(rows: Sequence[Mapping[str, Any]]) -> list[int | None]:
    """Return the numbers of ids, without the prefix; None for one that has no number."""
    return [int(tail) if (tail := each.rpartition("_")[2]).isdecimal() else None for each in _ids(rows)]


def _known(numbers: Sequence[int | None]) -> list[int]:
    return [number for number in numbers if number is not None]


def _ascend(numbers: Sequence[int | None]) -> bool:
    known = _known(numbers)
    return len(known) == len(numbers) and all(low <= high for low, high in itertools.pairwise(known))


def _silent(answer: Answer) -> bool:
    """Tell whether it neither answers the question nor refuses it."""
    return not (answer.ok or answer.refused)
