"""Checks of the answers themselves: the rate limit, the token, refusals, redirects, and how long they take."""

from __future__ import annotations

import base64
import itertools
import json
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import requests

from scripts.probe import documented
from scripts.probe.answers import wait_of, whole_number
from scripts.probe.findings import Finding, Verdict, broken, holds, judged, mistake, too_little, untold
from scripts.probe.survey import LARGEST, USUAL
from source_commonroom.table import rows

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from scripts.probe.answers import Answer
    from scripts.probe.survey import Listing, Survey

LIMIT, REMAINING = "X-RateLimit-Limit", "X-RateLimit-Remaining"
TOKEN_STATUS, OTHER_PATH, V1_PATH = "v2/api-token-status", "v2/activity-types", "v1/tags"
MADE_UP_TOKEN = "not-a-token"  # noqa: S105  # it is none
BURST = 60
"""So many requests are sent at once to provoke a 429."""
_AT_ONCE = 10
_RATE = 20
_ENOUGH, _FEW, _MANY = 5, 2, 20
"""So many answers tell something of a header; so many, something that comes seldom; so many, something of all."""
_LISTS_ASKED = 2
"""So many lists are asked for what had better be refused."""
_INTERVAL = 2.0
"""Seconds; what counts for longer counts for longer than a second."""
_GAP, _FALL = 1.0, 3
"""Seconds between two answers within which the count goes on, and so many answers make a fall."""
_SLOWEST = 60.0
_ROUNDED = 1.0
"""Seconds that a `Date` may lie before the request, or after the answer, since it is cut to seconds."""


def rate(survey: Survey) -> Finding:
    """Check that a token may make 20 requests a second, as far as the header tells."""
    found = Counter(
        limit for answer in _own(survey) if (limit := whole_number(answer.headers.get(LIMIT, ""))) is not None
    )
    limits = {limit for limit, number in found.items() if number >= _ENOUGH}
    if not limits:
        return untold(f"{found.total()} answers have `{LIMIT}`")
    told = f"`{LIMIT}` is {', '.join(map(str, sorted(limits)))} in {found.total()} answers"
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
    evidence = f"in {len(told)} answers it falls for {max(lengths):.1f} s at most, and rises again {rises} times"
    long = sum(length > _INTERVAL for length in lengths)
    if long >= _FEW:
        return broken(evidence)
    if long or len(lengths) < _FEW:
        return untold("a single fall tells too little", evidence)
    return holds(evidence)


def open_token_status(survey: Survey) -> None:
    """Ask for the token's status before all else."""
    survey.ask(TOKEN_STATUS)


def provoke(survey: Survey) -> None:
    """Send so many requests at once that some are answered 429, to two endpoints in turn."""
    turns = list(itertools.islice(itertools.cycle((TOKEN_STATUS, OTHER_PATH)), BURST))
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
    if len(refusals) < _FEW or silent == 1:
        return untold("too little to tell", f"{silent} of {len(refusals)} don't say", evidence)
    return judged([mistake(f"{silent} of {len(refusals)} don't say")] if silent else [], evidence)


def shared_limit(survey: Survey) -> Finding:
    """Check that a 429 isn't meant for one endpoint alone."""
    refused = [answer.path for answer in _refusals(survey)]
    if not refused:
        return untold("no 429 was answered; `PROVOKE_429=1` provokes one")
    by_path = {path: refused.count(path) for path in (TOKEN_STATUS, OTHER_PATH)}
    evidence = ", ".join(f"`{path}` {number} times" for path, number in by_path.items())
    if sum(by_path.values()) < _ENOUGH:
        return untold(f"too little to tell: {evidence}")
    return judged([mistake("one endpoint alone answered 429")] if 0 in by_path.values() else [], evidence)


def token_expiry(survey: Survey) -> Finding:
    """Check that a JWT isn't accepted any more after its `exp`."""
    expiry = _claims(survey.client.token).get("exp")
    if not isinstance(expiry, int | float):
        return untold("the token is no JWT with `exp`")
    accepted = survey.need(TOKEN_STATUS)
    if expiry > accepted.at:
        return holds("`exp` lies ahead")
    return broken("the token is accepted after its `exp`", seen_in=((accepted,),))


def largest_page(survey: Survey) -> Finding:
    """Check that `limit` may be 200, and is kept to."""
    size = survey.page_size
    if survey.refused_limit is not None:
        told = f"`limit={LARGEST}` is answered {survey.refused_limit.said}, and one of {size} isn't"
        return broken(told, seen_in=((survey.refused_limit,),))
    pages = [answer for answer in survey.read.values() if answer.cursor and answer.params["limit"] == str(size)]
    if not pages:
        return untold("too little to tell: no list has more than a page")
    evidence = f"{len(survey.read)} lists take it; {len(pages)} pages are followed by others"
    short = [answer for answer in pages if len(answer.entries) < size]
    least = min((len(answer.entries) for answer in short), default=0)
    return judged(
        [mistake(f"{len(short)} of them have fewer rows, {least} at least", *short)] if short else [], evidence
    )


def token_status(survey: Survey) -> Finding:
    """Check that the token may ask for its own status, and how that is answered."""
    answer = survey.ask(TOKEN_STATUS)
    if not answer.ok:
        others = [other for other in survey.client.answers if other.ok]
        told = f"answered {answer.said}"
        return (
            broken(told, f"{len(others)} other requests were answered 200", seen_in=((answer,),))
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
    wrong = "it is a bare object, without `jti`" if bare else "the body is not the bare object"
    return broken(wrong, told, seen_in=((answer,),))


def refused_token(survey: Survey) -> Finding:
    """Check that 403 at the token's status means the token."""
    answer = _with_made_up_token(survey, TOKEN_STATUS)
    evidence = f"a made-up token is answered {answer.said}, ours {survey.ask(TOKEN_STATUS).said}"
    failed = answer.failed and answer.status != requests.codes.forbidden
    refused = sorted(
        {f"`{each.place}`" for each in _own(survey) if each.status == requests.codes.forbidden} - {f"`{TOKEN_STATUS}`"}
    )
    wrong = not failed and answer.status != requests.codes.forbidden
    return judged(
        [mistake("a made-up token isn't answered 403", answer)] if wrong else [],
        evidence,
        f"the token may not ask for {', '.join(refused)}" if refused else "",
        unsure=["the question failed"] if failed else [],
    )


def body_of_refusals(survey: Survey) -> Finding:
    """Check that a 403 has a body in JSON, or none."""
    for path in (TOKEN_STATUS, V1_PATH):
        _with_made_up_token(survey, path)
    refusals = [answer for answer in survey.client.answers if answer.status == requests.codes.forbidden]
    others = [answer for answer in survey.client.latest() if _is_foreign(answer)]
    passing = sum(map(_is_foreign, refusals)) if not others else 0
    keys = {key for answer in refusals if isinstance(answer.body, dict) for key in answer.body}
    known = sorted(keys & documented.REFUSAL.keys())
    evidence = f"{len(refusals)} answers of 403, with the keys {', '.join(known) or 'none'}"
    evidence += f", and {len(keys) - len(known)} that aren't documented" if len(keys) > len(known) else ""
    return judged(
        [mistake(f"questions answered 403 with something else than JSON: {len(others)}", *others)] if others else [],
        evidence,
        unsure=[
            *([f"something else than JSON, but not when asked again: {passing}"] if passing else []),
            *too_little(len(refusals), _FEW, "answers of 403"),
        ],
    )


def _is_foreign(answer: Answer) -> bool:
    """Tell whether it is a 403 that something else than the API answers."""
    return bool(answer.status == requests.codes.forbidden and answer.size and not answer.is_json)


def redirects(survey: Survey) -> Finding:
    """Check that no answer sends us away from the API's own address. None is followed."""
    home = urlsplit(survey.client.api_url)[:2]
    answers = survey.client.answers
    redirected = [answer for answer in answers if answer.leads_to is not None]
    elsewhere = [answer for answer in redirected if answer.leads_to and urlsplit(answer.leads_to)[:2] != home]
    away = [answer for answer in survey.client.latest() if answer in elsewhere]
    unread = sum(answer.leads_to == "" for answer in redirected)
    evidence = f"{len(redirected)} redirects in {len(answers)} answers"
    if unread and not away:
        return untold(f"{unread} redirects have a `Location` that can't be read", evidence)
    # Different questions that were answered so are evidence enough.
    seen_in = away if len(away) < _FEW else []
    return judged(
        [mistake(f"questions led elsewhere: {len(away)}", *seen_in)] if away else [],
        evidence,
        unsure=[
            *(["it led elsewhere, and didn't when asked again"] if elsewhere and not away else []),
            *too_little(len(answers), _MANY, "answers"),
        ],
    )


def dates(survey: Survey) -> Finding:
    """Check that `Date` goes on as our clock does; one that was cached stands still."""
    spans: list[tuple[float, float]] = []
    unread = 0
    for answer in survey.client.answers:
        if "Date" in answer.headers:
            try:
                date = parsedate_to_datetime(answer.headers["Date"]).timestamp()
            except (ValueError, TypeError, OverflowError):
                unread += 1
                continue
            # It was made at some time between the request and the answer, by a clock that may be ahead of ours.
            spans.append((date - answer.at - _ROUNDED, date - answer.at + answer.seconds + _ROUNDED))
    if unread:
        told = f"{unread} answers have a `Date` that can't be read"
        return broken(told) if unread >= _FEW else untold(told)
    if len(spans) < _ENOUGH:
        return untold(f"{len(spans)} answers have a `Date`")
    if not _agree(spans):
        without_one = (spans[:place] + spans[place + 1 :] for place in range(len(spans)))
        if any(map(_agree, without_one)):
            return untold(f"one of {len(spans)} answers has another `Date` than this machine's clock tells")
        return broken(f"in {len(spans)} answers it doesn't go on as this machine's clock does")
    least, most = max(low for low, _ in spans), min(high for _, high in spans)
    return holds(f"in {len(spans)} answers it is {least:.1f} to {most:.1f} s ahead of this machine's clock")


def _agree(spans: Sequence[tuple[float, float]]) -> bool:
    """Tell whether one clock may have made all dates."""
    return max(low for low, _ in spans) <= min(high for _, high in spans)


def _readable(survey: Survey, *, columns: bool = False) -> list[Listing]:
    """Return a few lists that can be read; `columns` wants those that take some."""
    found = (each for each in survey.leading if (each.columns or not columns) and survey.thin(each).ok)
    return list(itertools.islice(found, _LISTS_ASKED))


def _refusals_of(survey: Survey, name: str, more: Mapping[str, str], listings: list[Listing]) -> Finding:
    """Check that lists refuse with 400 what had better be refused.

    :param name: what it is
    """
    if not listings:
        return untold("no list could be read")
    answers = {
        listing.name: survey.ask_too_much(listing.row.path, {**listing.slice, "limit": "2", **more})
        for listing in listings
    }
    refused = sum(answer.status == requests.codes.bad_request and answer.refused for answer in answers.values())
    mistakes = [
        mistake(f"{name} isn't refused so by {listing}", answer)
        for listing, answer in answers.items()
        if answer.ok or (answer.refused and answer.status != requests.codes.bad_request)
    ]
    return judged(
        mistakes,
        f"{name} is answered "
        + ", ".join(f"{answer.said}{_code(answer)} by {listing}" for listing, answer in answers.items()),
        unsure=[
            *(f"{name}: the question of {listing} failed" for listing, answer in answers.items() if _silent(answer)),
            *too_little(refused, _FEW, "lists that refuse"),
        ],
    )


def bad_cursor(survey: Survey) -> Finding:
    """Check that a cursor that can't be good is answered 400."""
    return _refusals_of(survey, "a made-up cursor", {"cursor": "not-a-cursor"}, _readable(survey))


def undocumented(survey: Survey) -> Finding:
    """Check that an unknown parameter, and an unknown column, are refused with 400."""
    found = (
        _refusals_of(survey, "an unknown parameter", {"notAParameter": "1"}, _readable(survey)),
        _refusals_of(survey, "an unknown column", {"cols": "notAColumn"}, _readable(survey, columns=True)),
    )
    evidence = "; ".join(each.evidence for each in found)
    for verdict, say in ((Verdict.BROKEN, broken), (Verdict.UNTOLD, untold)):
        if verdict in {each.verdict for each in found}:
            return replace(say(evidence), seen_in=tuple(group for each in found for group in each.seen_in))
    return holds(evidence)


def slowest(survey: Survey) -> Finding:
    """Check that every request was answered within 60 s."""
    answers = survey.client.answers
    late = [answer for answer in answers if answer.timed_out or answer.seconds > _SLOWEST]
    latest = survey.client.latest()
    still = [answer for answer in latest if not answer.status or answer in late]
    evidence = f"the slowest of {len(answers)} took {max(answer.seconds for answer in answers):.1f} s"
    which = ", ".join(sorted({f"`{each.place}` ({each.failure or f'{each.seconds:.0f} s'})" for each in still}))
    passing = len({answer.question for answer in late} - {answer.question for answer in still})
    return judged(
        [mistake(f"not answered, or not in time, also when asked again: {which}", *still)] if still else [],
        evidence,
        unsure=[
            *([f"questions answered in time only when asked again: {passing}"] if passing else []),
            *too_little(len(answers), _MANY, "answers"),
        ],
    )


def unpaged(survey: Survey) -> Finding:
    """Check that the lists without pages name no next one, also one that is longer than a page usually is."""
    found = {row.name: survey.ask(row.path) for row in rows().values() if row.page == "list"}
    answered = {name: answer for name, answer in found.items() if answer.ok}
    if not answered:
        return untold("none of them could be read")
    paged = {name: answer for name, answer in answered.items() if answer.meta.get("nextCursor")}
    sizes = {name: len(answer.rows) for name, answer in answered.items()}
    missing = [f"{name} was answered {answer.said}" for name, answer in found.items() if not answer.ok]
    longest = max(sizes.values())
    return judged(
        [mistake(f"a page follows in {', '.join(paged)}", *paged.values())] if paged else [],
        f"rows: {', '.join(f'{name} {size}' for name, size in sizes.items())}",
        *missing,
        unsure=too_little(longest, USUAL + 1, "rows in the longest of them"),
    )


def _with_made_up_token(survey: Survey, path: str) -> Answer:
    return survey.client.with_a_made_up_token(path, MADE_UP_TOKEN)


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
        "invalid_parameters",
        "invalid_organization_id",
        "org_not_found",
        "invalid_contact_id",
        "contact_not_found",
        "invalid_object_id",
        "object_not_found",
        "invalid_object_type_id",
        "object_type_not_found",
        "invalid_segment_id",
        "segment_not_found",
        "invalid_activity_id",
        "activity_not_found",
        "conflict",
        "internal_server_error",
        "invalid_custom_field_id",
        "custom_field_not_found",
        "invalid_prospector_contact_id",
        "prospector_contact_not_found",
        "invalid_prospector_company_id",
        "prospector_company_not_found",
    }
)
"""Of errors of v2, as documented: all of them."""


def _code(answer: Answer) -> str:
    """Return the code of an error, if it is one that is documented."""
    error = answer.body.get("error") if isinstance(answer.body, dict) else None
    code = error.get("code") if isinstance(error, dict) else None
    return f" ({code})" if isinstance(code, str) and code in _CODES else ""
