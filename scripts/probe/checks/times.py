"""Checks of time: how `startDate` and `endDate` compare with the time of an activity that is known."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from scripts.probe.findings import Finding, UntoldError, broken, holds, judged, mistake, untold
from scripts.probe.forms import counted
from scripts.probe.survey import whole

if TYPE_CHECKING:
    from scripts.probe.answers import Answer
    from scripts.probe.survey import Survey

_MILLISECOND, _SECOND = timedelta(milliseconds=1), timedelta(seconds=1)
_LONELY = 3 * _SECOND
"""So far from the next one is an activity that dates are tried on."""
_FAR, _OTHER_BOUND = 90 * _SECOND, timedelta(minutes=10)
_BEFORE_1970 = "1969-12-31T23:59:59.999Z"
_MIDDLE = range(2, 57)
"""Seconds that a resolution of a minute would move by more than one."""


@dataclass(frozen=True)
class _Activity:
    """An activity that no other one is near to."""

    key: str
    time: datetime
    page: Answer
    """What shows it."""

    @property
    def second(self) -> datetime:
        """The beginning of its second."""
        return self.time.replace(microsecond=0)

    @property
    def dates(self) -> dict[str, datetime]:
        """The dates that are tried, by what they are called."""
        return {
            "the second before": self.second - _SECOND,
            "1 ms before": self.time - _MILLISECOND,
            "its time": self.time,
            "1 ms after": self.time + _MILLISECOND,
            "the next second": self.second + _SECOND,
        }


def date_bounds(survey: Survey) -> Finding:
    """Check that dates are compared to the second, or finer."""
    activity = _lonely(survey)
    start, end = _returned(survey, activity, "startDate"), _returned(survey, activity, "endDate")
    if not _is_near(survey, activity, start, end):
        return untold("the activity isn't found near its time, so dates are compared with another one")
    mistakes = [
        mistake(
            f"`{name}` of {date} {'returns it' if found[date] else 'leaves it out'}",
            _page(survey, activity, name, activity.dates[date]),
        )
        for name, found, date, expected in (
            ("startDate", start, "the second before", True),
            ("startDate", start, "the next second", False),
            ("endDate", end, "the second before", False),
            ("endDate", end, "the next second", True),
        )
        if found[date] is not expected
    ]
    inclusive = [f"`{name}`" for name, found in (("startDate", start), ("endDate", end)) if found["its time"]]
    exact = start["1 ms before"] and not start["1 ms after"] and end["1 ms after"] and not end["1 ms before"]
    return judged(
        mistakes,
        f"inclusive: {' and '.join(inclusive) or 'neither'}",
        f"compared to the millisecond: {'yes' if exact else 'no'}",
        *(f"`{name}` returns it at {_told(found)}" for name, found in (("startDate", start), ("endDate", end))),
    )


def stored_times(survey: Survey) -> Finding:
    """Check that an activity is found near the time that it shows, and tell whether its own is finer."""
    activity = _lonely(survey)
    start, end = _returned(survey, activity, "startDate"), _returned(survey, activity, "endDate")
    if not _is_near(survey, activity, start, end):
        seen = [
            _page(survey, activity, name, at)
            for name, at in (("startDate", activity.second - _FAR), ("endDate", activity.second + _FAR))
        ]
        return broken(f"not found within {_FAR.seconds} s of its time", seen_in=((activity.page, *seen),))
    finer = start["its time"] and not end["its time"] and end["1 ms after"]
    return holds(
        "found near its time",
        "its own is finer, or `endDate` leaves out its own time" if finer else "nothing tells of a finer one",
    )


def _is_near(survey: Survey, activity: _Activity, start: dict[str, bool], end: dict[str, bool]) -> bool:
    """Tell whether an activity is found near its time from both sides."""
    since = start["the second before"] or _returns(survey, activity, "startDate", activity.second - _FAR)
    return since and (end["the next second"] or _returns(survey, activity, "endDate", activity.second + _FAR))


def nothing_before_1970(survey: Survey) -> Finding:
    """Check that no activity lies before 1970."""
    listing = survey.listing("activities")
    if not whole(survey.thin(listing)).rows:
        raise UntoldError("too little to tell: there are no activities")
    answer = whole(survey.ask(listing.row.path, {"endDate": _BEFORE_1970, "limit": "1", "cols": "recordCount"}))
    told = f"{counted(len(answer.rows), 'row')}, counted {answer.count}"
    return broken(told, seen_in=((answer,),)) if answer.rows or answer.count else holds(told)


def _lonely(survey: Survey) -> _Activity:
    """Return an activity that no other one is near to, with a time in the middle of a second and of a minute.

    :raises UntoldError: if the first and the last page have none
    """
    listing = survey.listing("activities")
    shown = []
    for direction in ("asc", "desc"):
        page = whole(survey.thin(listing, direction))
        rows = [_Activity(str(row.get("id")), time, page) for row in page.rows if (time := _time(row))]
        shown += rows
        ordered = sorted(rows, key=lambda each: each.time)
        for before, this, after in zip(ordered, ordered[1:], ordered[2:], strict=False):
            alone = this.time - before.time > _LONELY and after.time - this.time > _LONELY
            if alone and this.time.microsecond and this.time.second in _MIDDLE:
                return this
    if shown and not any(each.time.microsecond for each in shown):
        raise UntoldError("times are shown in whole seconds")
    raise UntoldError("no activity on the first and the last page is alone in its seconds")


def _time(row: dict[str, Any]) -> datetime | None:
    try:
        time = datetime.fromisoformat(str(row.get("activityTime")))
    except ValueError:
        return None
    return time.astimezone(UTC) if time.tzinfo else None


def _returned(survey: Survey, activity: _Activity, name: str) -> dict[str, bool]:
    """Tell of each date whether it returns the activity, as `startDate` or as `endDate`."""
    return {date: _returns(survey, activity, name, at) for date, at in activity.dates.items()}


def _page(survey: Survey, activity: _Activity, name: str, at: datetime) -> Answer:
    """Return the page from the date that is tried on, so that the activity, if returned, is among the first ones."""
    other = {"startDate": ("endDate", _OTHER_BOUND), "endDate": ("startDate", -_OTHER_BOUND)}[name]
    dates = {name: _text(at), other[0]: _text(activity.time + other[1])}
    direction = "asc" if name == "startDate" else "desc"
    order = {"sort": "activityTime", "direction": direction, "limit": str(survey.page_size)}
    return survey.ask(survey.listing("activities").row.path, {**order, **dates})


def _returns(survey: Survey, activity: _Activity, name: str, at: datetime) -> bool:
    page = whole(_page(survey, activity, name, at))
    if activity.key in {str(row.get("id")) for row in page.rows}:
        return True
    if page.cursor:
        times = [time for row in page.rows if (time := _time(row))]
        upwards = name == "startDate"
        beyond = times and (max(times) > activity.time if upwards else min(times) < activity.time)
        if not beyond:
            raise UntoldError("more activities lie near it than a page holds")
    return False


def _text(at: datetime) -> str:
    return at.replace(tzinfo=None).isoformat(timespec="milliseconds") + "Z"


def _told(found: dict[str, bool]) -> str:
    return ", ".join(itertools.compress(found, found.values())) or "none of these dates"
