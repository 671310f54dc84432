"""Checks of lists: cursors, ends, counts, orders and ids."""

from __future__ import annotations

import itertools
import time
from datetime import datetime
from typing import TYPE_CHECKING, Any

from scripts.probe.answers import NO_META
from scripts.probe.findings import Finding, UntoldError, broken, holds, judged, untold
from scripts.probe.forms import forms_of, key_form
from scripts.probe.survey import texts, whole

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from scripts.probe.answers import Answer
    from scripts.probe.survey import Listing, Survey

LIFETIME = 60.0
"""Seconds after which a cursor is sent once more."""
_SMALL_PAGE = 2
_PAIR = 2
"""So many records it takes to be in order, or to be two."""
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
    first = whole(survey.ask(page.path, followed))
    again = survey.ask(page.path, followed, again=True)
    time.sleep(max(0.0, page.at + LIFETIME - time.time()))
    late = survey.ask(page.path, followed, again=True)
    if not first.rows:
        return untold("too few records: the page that it leads to is empty")
    age = late.at - page.at
    mistakes = ["the page that it leads to has records of the first one"] if _shared(page, first) else []
    unsure: list[str] = []
    for when, answer in (("a second time", again), (f"after {age:.0f} s", late)):
        if not answer.ok:
            (mistakes if answer.denied else unsure).append(f"{when} it is answered {answer.said}")
        elif _ids(answer.rows) != _ids(first.rows):
            mistakes.append(f"{when} another page is returned")
    return judged(mistakes, f"followed twice, and after {age:.0f} s", unsure=unsure)


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
    taken = [f"it is taken with {what}" for what, answer in answers.items() if answer.ok]
    return judged(
        taken,
        *(f"with {what} it is answered {answer.said}" for what, answer in answers.items()),
        unsure=[f"the question with {what} failed" for what, answer in answers.items() if _silent(answer)],
    )


def cursor_kinds(survey: Survey) -> Finding:
    """Tell the form of cursors; what they do when records are created or deleted can't be told without writing."""
    cursors = [answer.cursor for answer in survey.client.answers if answer.cursor]
    return untold("it takes records that are created and deleted, so writing", f"cursors seen: {forms_of(cursors)}")


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
    return judged([f"{name}: {form}" for name, form in forms.items() if form != "null"], _told_ends(forms, beyond))


def optional_cursor(survey: Survey) -> Finding:
    """Check that `meta` is there in any case, and `nextCursor` on every full page that others follow."""
    pages = [survey.full(listing) for listing in survey.leading if listing.row.page == "paged_open"]
    ends, beyond = _ends(survey, "paged_open")
    forms = {name: _end_form(found[-1]) for name, found in ends.items()}
    mistakes = [f"{name}: no `meta`" for name, found in ends.items() if found[-1].meta is NO_META]
    for listing, page in zip((each for each in survey.leading if each.row.page == "paged_open"), pages, strict=True):
        count = survey.counted(listing).count
        if page.ok and not page.cursor and count is not None and count > len(page.rows) == survey.page_size:
            mistakes.append(f"{listing.name}: none on a page of {len(page.rows)} of {count}")
    return judged(mistakes, _told_ends(forms, beyond))


# Counts


def exact_counts(survey: Survey) -> Finding:
    """Check that counts equal what small lists return, and a walk of the latest activities in small pages."""
    counted: dict[str, tuple[int, int]] = {}
    changed = []
    for listing in survey.leading:
        page = survey.full(listing) if listing.counts else None
        if page is None or not page.ok:
            continue
        if not page.cursor and survey.counted(listing).count is not None:
            if pair := _compared(survey, listing):
                counted[listing.name] = pair
            else:
                changed.append(listing.name)
        for end in survey.ends(listing) if page.cursor else ():
            # The end of a part of it, if a filter names one.
            if end.count is not None and "cursor" not in end.params:
                counted[f"{listing.name}, a part"] = (len(end.rows), end.count)
    try:
        counted |= _walk_of_activities(survey)
    except UntoldError:
        changed.append("activities")
    # A full page may hold fewer than all.
    small = {name: pair for name, pair in counted.items() if pair[0] < survey.page_size and any(pair)}
    if not small:
        return untold("too few records: no list is small enough, and has any")
    mistakes = [
        f"{name}: counted {count}, returned {number}" for name, (number, count) in small.items() if number != count
    ]
    return judged(
        mistakes,
        f"compared {len(small)} lists of {', '.join(str(number) for number, _ in small.values())} records",
        unsure=[f"{name} changed meanwhile" for name in changed],
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


def _walk_of_activities(survey: Survey) -> dict[str, tuple[int, int]]:
    """Walk the latest activities in small pages; return how many were returned, and how many counted.

    :raises UntoldError: if that changes meanwhile
    """
    listing = survey.listing("activities")
    latest = sorted(texts(survey.thin(listing, "desc").rows, "activityTime"))[-_WINDOW:]
    if not latest:
        return {}
    params = {"startDate": latest[0], "sort": "activityTime", "direction": "asc", "limit": str(_WINDOW // 2)}
    page = survey.ask(listing.row.path, {**params, "cols": "recordCount"})
    count, number = page.count, len(page.rows)
    while page.ok and page.cursor and number <= 2 * _WINDOW:
        page = survey.ask(listing.row.path, {**params, "cols": "recordCount", "cursor": page.cursor})
        number += len(page.rows)
    ended = page.ok and not page.cursor
    if ended and number != count:
        again = survey.ask(listing.row.path, {**params, "cols": "recordCount"}, again=True)
        if again.count != count:
            raise UntoldError("activities changed meanwhile")
    return {"activities, the latest": (number, count)} if count is not None and ended else {}


def counted_activities(survey: Survey) -> Finding:
    """Check that activities are counted beside other columns, on the first page and on the next one."""
    listing = survey.listing("activities")
    alone = survey.counted(listing).count
    if not whole(survey.thin(listing)).rows:
        return untold("too few records: there are no activities")
    if survey.counts_beside.denied:
        return broken(f"beside columns it is answered {survey.counts_beside.said}", f"alone: {alone}")
    pages = dict(zip(("the first page", "the next page"), _two_pages(survey), strict=False))
    mistakes = [f"not on {name}" for name, page in pages.items() if page.ok and page.count is None]
    mistakes += [f"{name} is answered {page.said}" for name, page in pages.items() if page.denied]
    unsure = [f"{name} is answered {page.said}" for name, page in pages.items() if not page.ok and not page.denied]
    counts = {page.count for page in pages.values() if page.count is not None}
    told = f"counted on {len(pages)} pages: {', '.join(map(str, sorted(counts))) or 'nothing'}; alone: {alone}"
    return judged(mistakes, told, unsure=unsure)


def _two_pages(survey: Survey) -> list[Answer]:
    """Return the first two pages of activities with all columns, or the only one."""
    listing = survey.listing("activities")
    first = whole(survey.full(listing))
    following = [survey.ask(listing.row.path, {**first.params, "cursor": first.cursor})] if first.cursor else []
    return [first, *following]


def counted_alone(survey: Survey) -> Finding:
    """Check that other lists are counted on a page of one row, with the highest id if they are sorted by it."""
    counts: list[str] = []
    mistakes: list[str] = []
    unsure: list[str] = []
    for listing in survey.leading:
        if not listing.row.counts or not survey.thin(listing).ok:
            continue
        answer = survey.counted(listing)
        if answer.count is None:
            told = f"{listing.name}: not counted ({answer.said})"
            (mistakes if answer.ok or answer.denied else unsure).append(told)
            continue
        counts.append(f"{listing.name} {answer.count}")
        if listing.order and (first := _is_first(survey, listing, answer)) is not True:
            told = "changed meanwhile" if first is None else "not with the first row of the list downwards"
            (unsure if first is None else mistakes).append(f"{listing.name}: {told}")
    if not counts and not mistakes:
        return untold("none of them could be read", *unsure)
    if not mistakes and all(told.endswith(" 0") for told in counts):
        return untold("too few records: all of them are empty")
    return judged(mistakes, f"counted: {', '.join(counts) or 'nothing'}", unsure=unsure)


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
    """Check that the lists without a documented count have none."""
    answers = {
        listing.name: survey.ask_too_much(listing.row.path, {"limit": "1", "cols": "recordCount"})
        for listing in survey.leading
        if not listing.counts and survey.thin(listing).ok
    }
    if not answers:
        return untold("none of them could be read")
    counted = [f"{name} is counted" for name, answer in answers.items() if answer.count is not None]
    return judged(
        counted,
        *(f"{name} answers {answer.said}" for name, answer in answers.items()),
        unsure=[f"the question of {name} failed" for name, answer in answers.items() if _silent(answer)],
    )


# Orders and ids


def order_by_id(survey: Survey) -> Finding:
    """Check that lists are sorted by the number of the id, upwards and downwards."""
    mistakes, told, without = [], [], []
    unsure: list[str] = []
    for listing in survey.leading:
        if not listing.row.both_ends:
            continue
        up, down = survey.thin(listing), survey.thin(listing, "desc")
        if not up.ok or len(up.rows) < _PAIR:
            continue
        numbers = _numbers(up.rows)
        if not numbers or None in numbers:
            without.append(f"{listing.name} ({forms_of(_ids(up.rows))})")
            continue
        if not _ascend(numbers):
            mistakes.append(f"{listing.name} isn't sorted upwards")
        downwards = _numbers(down.rows)
        if not down.ok:
            (mistakes if down.denied else unsure).append(f"{listing.name} downwards is answered {down.said}")
        elif not _ascend(downwards[::-1]):
            mistakes.append(f"{listing.name} isn't sorted downwards")
        elif max(_known(numbers)) > max(_known(downwards), default=-1):
            mistakes.append(f"{listing.name} downwards isn't the reverse of upwards")
        told.append(f"{listing.name} ({forms_of(_ids([*up.rows, *down.rows]))})")
    if not told:
        return untold("no list has ids with numbers" if without else "too few records: no list has two", *without)
    return judged(
        mistakes,
        f"first and last pages of {', '.join(told)}",
        f"no numbers: {', '.join(without)}" if without else "",
        unsure=unsure,
    )


def order_by_time(survey: Survey) -> Finding:
    """Check that activities are sorted by time, on the first pages and the last one, upwards and downwards."""
    listing = survey.listing("activities")
    up, down = whole(survey.thin(listing)), whole(survey.thin(listing, "desc"))
    pages = {
        "the first page": _moments(up.rows),
        "the last page, downwards": _moments(down.rows)[::-1],
    }
    if up.cursor:
        pages["the first two pages"] = [each for page in _two_pages(survey) for each in _moments(page.rows)]
    for end in survey.ends(listing):
        pages["the last page, upwards"] = _moments(end.rows)
    first, last = pages["the first page"], pages["the last page, downwards"]
    if min(len(first), len(last)) < _PAIR:
        return untold("too few records: there are no two activities with a time")
    mistakes = [f"out of order: {name}" for name, times in pages.items() if times != sorted(times)]
    if min(first) > min(last):
        mistakes.append("downwards isn't the reverse of upwards")
    return judged(mistakes, f"{', '.join(pages)}: {sum(map(len, pages.values()))} activities")


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
    mistakes: list[str] = []
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
        (grown if highest[1] > highest[0] else mistakes).append(new)
    if without and not mistakes:
        return untold(*without)
    if not grown and not mistakes:
        return untold("no record was created meanwhile, and records don't say when they were")
    return judged(
        [f"{new}, and the highest id is as before" for new in mistakes], *(f"{new}, with a higher id" for new in grown)
    )


def unique_ids(survey: Survey) -> Finding:
    """Check that no id is returned twice on a page. Visits have a row of their own."""
    pages = {name: _ids(answer.rows) for name, answer in survey.read.items() if name != "website_visits"}
    mistakes = [
        f"{name}: {len(ids) - len(set(ids))} are returned twice"
        for name, ids in pages.items()
        if len(ids) > len(set(ids))
    ]
    if not any(len(ids) >= _PAIR for ids in pages.values()):
        return untold("too few records: no list has two")
    return judged(
        mistakes,
        f"{sum(map(len, pages.values()))} ids of {len(pages)} lists",
        "whether one is used again can't be told",
    )


def visit_ids(survey: Survey) -> Finding:
    """Check that ids of visits are unique on a page, and tell whether they are the same on another one."""
    listing = survey.listing("website_visits")
    page = whole(survey.full(listing))
    if len(ids := _ids(page.rows)) < _PAIR:
        return untold("too few records: there are no two visits")
    short = survey.ask(listing.row.path, {"limit": str(_SMALL_PAGE + 1)})
    same = "the same" if _ids(short.rows) == ids[: _SMALL_PAGE + 1] else "others"
    twice = len(ids) - len(set(ids))
    return judged(
        [f"{twice} are returned twice"] if twice else [],
        forms_of(ids),
        f"with another `limit`, the first ids are {same}",
    )


def no_changes(survey: Survey) -> Finding:
    """Check that no record says when it was changed, deleted or merged."""
    telling = {
        f"{name}: `{key_form(key)}`"
        for name, answer in survey.read.items()
        for row in answer.rows
        for key in row
        if any(word in key.casefold() for word in ("updated", "modified", "deleted", "merged"))
    }
    if not any(answer.rows for answer in survey.read.values()):
        return untold("no record could be read")
    told = f"records of {len(survey.read)} lists have no such field" if not telling else ""
    return broken(*sorted(telling)) if telling else holds(told)


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
