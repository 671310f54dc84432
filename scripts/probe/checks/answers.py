"""Checks of the answers themselves: the rate limit, the token, refusals, redirects, and how long they take."""

from __future__ import annotations

import base64
import itertools
import json
import time
from concurrent.futures import ThreadPoolExecutor
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import requests

from scripts.probe import documented
from scripts.probe.answers import wait_of, whole_number
from scripts.probe.findings import Finding, Verdict, broken, holds, judged, untold
from scripts.probe.survey import LARGEST, whole
from source_commonroom.table import rows

if TYPE_CHECKING:
    from collections.abc import Mapping

    from scripts.probe.answers import Answer
    from scripts.probe.survey import Survey

LIMIT, REMAINING = "X-RateLimit-Limit", "X-RateLimit-Remaining"
TOKEN_STATUS, OTHER_PATH = "v2/api-token-status", "v2/activity-types"
MADE_UP_TOKEN = "not-a-token"  # noqa: S105  # it is none
BURST = 60
"""So many requests are sent at once to provoke a 429."""
_AT_ONCE = 10
_RATE = 20
_ENOUGH = 5
_INTERVAL = 2.0
"""Seconds; what counts for longer counts for longer than a second."""
_GAP, _FALL = 1.0, 3
"""Seconds between two answers within which the count goes on, and so many answers make a fall."""
_SLOWEST = 60.0
_ROUNDED = 1.0
"""Seconds that a `Date` may lie before the request, or after the answer, since it is cut to seconds."""


def rate(survey: Survey) -> Finding:
    """Check that a token may make 20 requests a second, as far as the header tells."""
    found = (whole_number(answer.headers.get(LIMIT, "")) for answer in _own(survey))
    limits = {limit for limit in found if limit is not None}
    if not limits:
        return untold(f"no answer has `{LIMIT}`")
    told = f"`{LIMIT}` is {', '.join(map(str, sorted(limits)))}"
    if interval(survey).verdict is not Verdict.HOLDS:
        return untold("it isn't told that it counts for a second", told)
    return holds(told) if min(limits) >= _RATE else broken(told)


def interval(survey: Survey) -> Finding:
    """Check that the header counts for about a second: over more than two, it rises again."""
    told = [
        (answer.at, remaining)
        for answer in _own(survey)
        if (remaining := whole_number(answer.headers.get(REMAINING, ""))) is not None
    ]
    if len(told) < _ENOUGH:
        return untold(f"{len(told)} answers have `{REMAINING}`")
    falls, rises = [[told[0][0]]], 0
    for (last, before), (at, remaining) in itertools.pairwise(told):
        rises += remaining > before
        # What happened in a longer gap can't be told.
        if remaining < before and at - last <= _GAP:
            falls[-1].append(at)
        else:
            falls.append([at])
    lengths = [fall[-1] - fall[0] for fall in falls if len(fall) >= _FALL]
    if not lengths:
        return untold(f"in {len(told)} answers it never falls three times within a second")
    longest = max(lengths)
    evidence = f"in {len(told)} answers it falls for {longest:.1f} s at most, and rises again {rises} times"
    return broken(evidence) if longest > _INTERVAL else holds(evidence)


def open_token_status(survey: Survey) -> None:
    """Ask for the token's status before all else."""
    survey.ask(TOKEN_STATUS)


def provoke(survey: Survey) -> None:
    """Send so many requests at once that some are answered 429, to two endpoints in turn."""
    turns = list(itertools.islice(itertools.cycle((TOKEN_STATUS, OTHER_PATH)), BURST))
    survey.client.most += BURST
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        survey.client.answers += pool.map(lambda path: survey.client.send(path, {}), turns)
    time.sleep(max(map(_wait, _refusals(survey)), default=0.0))


def waits(survey: Survey) -> Finding:
    """Check that a 429 says how long to wait."""
    refusals = _refusals(survey)
    if not refusals:
        return untold("no 429 was answered; `PROVOKE_429=1` provokes one")
    said = {
        "`rateLimit.waitMs`": sum("waitMs" in str(_limit_of(answer)) for answer in refusals),
        **{
            f"`{name}`": sum(name in answer.headers for answer in refusals)
            for name in ("X-RateLimit-Reset", "Retry-After")
        },
    }
    silent = sum(wait_of(answer) is None for answer in refusals)
    evidence = ", ".join(f"{name} in {number} of {len(refusals)}" for name, number in said.items())
    return judged([f"{silent} of {len(refusals)} don't say"] if silent else [], evidence)


def shared_limit(survey: Survey) -> Finding:
    """Check that a 429 isn't meant for one endpoint alone."""
    refused = [answer.path for answer in _refusals(survey)]
    if not refused:
        return untold("no 429 was answered; `PROVOKE_429=1` provokes one")
    by_path = {path: refused.count(path) for path in (TOKEN_STATUS, OTHER_PATH)}
    evidence = ", ".join(f"`{path}` {number} times" for path, number in by_path.items())
    if sum(by_path.values()) < _ENOUGH:
        return untold(f"too few 429s to tell: {evidence}")
    return judged(["one endpoint alone answered 429"] if 0 in by_path.values() else [], evidence)


def token_expiry(survey: Survey) -> Finding:
    """Check that a JWT isn't accepted any more after its `exp`."""
    expiry = _claims(survey.client.token).get("exp")
    if not isinstance(expiry, int | float):
        return untold("the token is no JWT with `exp`")
    accepted = survey.need(TOKEN_STATUS)
    return holds("`exp` lies ahead") if expiry > accepted.at else broken("the token is accepted after its `exp`")


def largest_page(survey: Survey) -> Finding:
    """Check that `limit` may be 200, and is kept to."""
    size = survey.page_size
    if survey.refused_limit is not None:
        return broken(f"`limit={LARGEST}` is answered {survey.refused_limit.said}, and one of {size} isn't")
    pages = [answer for answer in survey.read.values() if answer.cursor and answer.params["limit"] == str(size)]
    if not pages:
        return untold("too few records: no list has more than a page")
    short = [len(answer.rows) for answer in pages if len(answer.rows) < size]
    evidence = f"{len(survey.read)} lists take it; {len(pages)} pages are followed by others"
    return judged([f"{len(short)} of them have fewer rows, {min(short)} at least"] if short else [], evidence)


def token_status(survey: Survey) -> Finding:
    """Check that the token may ask for its own status, and how that is answered."""
    answer = survey.ask(TOKEN_STATUS)
    if not answer.ok:
        others = [other for other in survey.client.answers if other.ok]
        told = f"answered {answer.said}"
        return (
            broken(told, f"{len(others)} other requests were answered 200")
            if others and answer.denied
            else untold(told)
        )
    found = set(answer.body) if isinstance(answer.body, dict) else set()
    known = sorted(found & {*documented.properties("api_token_status"), "success", "data"})
    more = len(found) - len(known)
    told = f"keys: {', '.join(known) or 'none'}" + (f", and {more} that aren't documented" if more else "")
    if "jti" in found:
        return holds(told)
    wrapped = isinstance(answer.body, dict) and isinstance(answer.body.get("data"), dict)
    bare = isinstance(answer.body, dict) and not wrapped
    return broken("it is a bare object, without `jti`" if bare else "the body is not the bare object", told)


def refused_token(survey: Survey) -> Finding:
    """Check that 403 at the token's status means the token."""
    answer = _with_made_up_token(survey)
    evidence = f"a made-up token is answered {answer.said}, ours {survey.ask(TOKEN_STATUS).said}"
    failed = answer.failed and answer.status != requests.codes.forbidden
    refused = sorted(
        {f"`{each.place}`" for each in survey.client.answers if each.status == requests.codes.forbidden}
        - {f"`{TOKEN_STATUS}`"}
    )
    return judged(
        ["a made-up token isn't answered 403"] if not failed and answer.status != requests.codes.forbidden else [],
        evidence,
        f"the token may not ask for {', '.join(refused)}" if refused else "",
        unsure=["the question failed"] if failed else [],
    )


def body_of_refusals(survey: Survey) -> Finding:
    """Check that a 403 has a body in JSON, or none."""
    _with_made_up_token(survey)
    refusals = [answer for answer in survey.client.answers if answer.status == requests.codes.forbidden]
    if not refusals:
        return untold("no 403 was answered")
    others = [answer for answer in refusals if answer.size and not answer.is_json]
    keys = {key for answer in refusals if isinstance(answer.body, dict) for key in answer.body}
    known = sorted(keys & documented.REFUSAL)
    evidence = f"{len(refusals)} answers of 403, with the keys {', '.join(known) or 'none'}"
    evidence += f", and {len(keys) - len(known)} that aren't documented" if len(keys) > len(known) else ""
    return judged([f"{len(others)} of them are neither JSON nor empty"] if others else [], evidence)


def redirects(survey: Survey) -> Finding:
    """Check that no answer sends us away from the API's own address. None is followed."""
    home = urlsplit(survey.client.api_url)
    away = [to for to in survey.client.redirects if to and urlsplit(to)[:2] != home[:2]]
    unread = survey.client.redirects.count("")
    evidence = f"{len(survey.client.redirects)} redirects in {len(survey.client.answers)} answers"
    if unread and not away:
        return untold(f"{unread} redirects have a `Location` that can't be read", evidence)
    return judged([f"{len(away)} of them lead elsewhere"] if away else [], evidence)


def dates(survey: Survey) -> Finding:
    """Check that `Date` goes on as our clock does; one that was cached stands still."""
    earliest, latest = [], []
    for answer in survey.client.answers:
        if "Date" in answer.headers:
            try:
                date = parsedate_to_datetime(answer.headers["Date"]).timestamp()
            except (ValueError, TypeError, OverflowError):
                return broken("a `Date` can't be read")
            # It was made at some time between the request and the answer, by a clock that may be ahead of ours.
            earliest.append(date - answer.at - _ROUNDED)
            latest.append(date - answer.at + answer.seconds + _ROUNDED)
    if len(earliest) < _ENOUGH:
        return untold(f"{len(earliest)} answers have a `Date`")
    least, most = max(earliest), min(latest)
    if least > most:
        return broken(f"in {len(earliest)} answers it doesn't go on as this machine's clock does")
    return holds(f"in {len(earliest)} answers it is {least:.1f} to {most:.1f} s ahead of this machine's clock")


def bad_cursor(survey: Survey) -> Finding:
    """Check that a cursor that can't be good is answered 400."""
    listing = next(iter(survey.listings))
    whole(survey.thin(listing))
    answer = survey.ask_too_much(listing.row.path, {**listing.slice, "limit": "2", "cursor": "not-a-cursor"})
    evidence = f"a made-up cursor is answered {answer.said}{_code(answer)}"
    if answer.status == requests.codes.bad_request and answer.refused:
        return holds(evidence)
    return broken(evidence) if answer.ok or answer.refused else untold(evidence)


def undocumented(survey: Survey) -> Finding:
    """Check that an unknown parameter, and an unknown column, are refused with 400."""
    listing = next(iter(survey.listings))
    whole(survey.thin(listing))
    path, usual = listing.row.path, {**listing.slice, "limit": "2"}
    answers = {
        "parameter": survey.ask_too_much(path, {**usual, "notAParameter": "1"}),
        "column": survey.ask_too_much(path, {**usual, "cols": "notAColumn"}),
    }
    mistakes = [
        f"an unknown {name} isn't refused so"
        for name, answer in answers.items()
        if answer.ok or (answer.refused and answer.status != requests.codes.bad_request)
    ]
    return judged(
        mistakes,
        *(f"an unknown {name} is answered {answer.said}{_code(answer)}" for name, answer in answers.items()),
        unsure=[f"the question of an unknown {name} failed" for name, answer in answers.items() if _silent(answer)],
    )


def slowest(survey: Survey) -> Finding:
    """Check that every request was answered within 60 s."""
    answers = survey.client.answers
    missing = [answer for answer in answers if not answer.status]
    late = [answer for answer in answers if answer.seconds > _SLOWEST]
    evidence = f"the slowest of {len(answers)} took {max(answer.seconds for answer in answers):.1f} s"
    mistakes = [f"{len(late)} took longer than {_SLOWEST:.0f} s"] if late else []
    if missing:
        which = sorted({f"`{answer.place}` ({answer.failure})" for answer in missing})
        mistakes.append(f"{len(missing)} requests were not answered: {', '.join(which)}")
    return judged(mistakes, evidence)


def unpaged(survey: Survey) -> Finding:
    """Check that the lists without pages name no next one."""
    found = {row.name: survey.ask(row.path) for row in rows().values() if row.page == "list"}
    answered = {name: answer for name, answer in found.items() if answer.ok}
    if not answered:
        return untold("none of them could be read")
    paged = [name for name, answer in answered.items() if answer.meta.get("nextCursor")]
    sizes = ", ".join(f"{name} {len(answer.rows)}" for name, answer in answered.items())
    missing = [f"{name} was answered {answer.said}" for name, answer in found.items() if not answer.ok]
    return judged([f"a page follows in {', '.join(paged)}"] if paged else [], f"rows: {sizes}", *missing)


def _with_made_up_token(survey: Survey) -> Answer:
    for answer in survey.client.answers:
        if answer.made_up_token:
            return answer
    return survey.client.with_a_made_up_token(TOKEN_STATUS, MADE_UP_TOKEN)


def _own(survey: Survey) -> list[Answer]:
    """Return the answers to our own token, whose limit it is."""
    return [answer for answer in survey.client.answers if not answer.made_up_token]


def _silent(answer: Answer) -> bool:
    """Tell whether it neither answers the question nor refuses it."""
    return not (answer.ok or answer.refused)


def _refusals(survey: Survey) -> list[Answer]:
    return [answer for answer in survey.client.answers if answer.status == requests.codes.too_many_requests]


def _wait(answer: Answer) -> float:
    return min(wait_of(answer) or 1.0, _SLOWEST)


def _limit_of(answer: Answer) -> Any:
    return answer.body.get("rateLimit") if isinstance(answer.body, dict) else None


def _claims(token: str) -> Mapping[str, Any]:
    """Return what a JWT says; nothing of another token."""
    parts = token.split(".")
    if len(parts) != len(("header", "claims", "signature")):
        return {}
    try:
        claims = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except ValueError:
        return {}
    return claims if isinstance(claims, dict) else {}


_CODES = frozenset(
    {
        "invalid_request",
        "invalid_parameters",
        "invalid_cursor",
        "org_not_found",
        "contact_not_found",
        "organization_not_found",
        "segment_not_found",
        "object_not_found",
        "object_type_not_found",
        "activity_not_found",
        "conflict",
        "internal_server_error",
    }
)
"""Of errors of v2, as documented."""


def _code(answer: Answer) -> str:
    """Return the code of an error, if it is one that is documented."""
    error = answer.body.get("error") if isinstance(answer.body, dict) else None
    code = error.get("code") if isinstance(error, dict) else None
    return f" ({code})" if isinstance(code, str) and code in _CODES else ""
