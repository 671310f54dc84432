"""Checks of segments, and of v1 of the API beside v2."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import requests

from scripts.probe.findings import (
    Finding,
    Mistake,
    UntoldError,
    broken,
    holds,
    judged,
    mistake,
    mistake_of_all,
    too_little,
    untold,
)
from scripts.probe.forms import counted, forms_of
from scripts.probe.survey import whole
from source_commonroom.table import rows

if TYPE_CHECKING:
    from scripts.probe.answers import Answer
    from scripts.probe.survey import Survey

_SEGMENTS_ASKED = 3
_SOME, _PAIR = 3, 2
"""So many ids it takes to tell of their form; so many lists, to tell of their bodies."""
_ID = re.compile("[A-Za-z]+_([0-9]{1,18})")


def _statuses(survey: Survey, number: str) -> Answer:
    return survey.ask(rows()["segment_statuses"].path, ids={"segmentNumber": number})


def _number(segment: dict[str, Any]) -> str:
    """Return the number in the id of a segment; empty if there is none."""
    found = _ID.fullmatch(segment["id"])
    return found[1] if found else ""


def _asked_segments(survey: Survey) -> list[dict[str, Any]]:
    """Return a few segments that v1 can be asked for by their number, those of each type of members first.

    :raises UntoldError: if there are segments, and none has a number
    """
    found = [survey.segments_of(entity) for entity in ("contact", "organization", "object")]
    numbered = [[row for row in of_type if _number(row)] for of_type in found]
    if any(found) and not any(numbered):
        raise UntoldError("the ids of segments have no numbers")
    found = numbered
    first = [row for of_type in found for row in of_type[:1]]
    return [*first, *(row for of_type in found for row in of_type[1:])][:_SEGMENTS_ASKED]


def _statuses_of(survey: Survey) -> dict[str, Answer]:
    """Return what is answered to the statuses of a few segments, by the id of each.

    :raises UntoldError: if there are no segments, or v1 is refused as such
    """
    segments = _asked_segments(survey)
    if not segments:
        raise UntoldError("there are no segments")
    found = {row["id"]: _statuses(survey, _number(row)) for row in segments}
    if all(answer.status in {requests.codes.forbidden, requests.codes.unauthorized} for answer in found.values()):
        raise UntoldError("the token may not ask for statuses")
    missing = all(answer.status == requests.codes.not_found for answer in found.values())
    if missing and survey.ask(rows()["contact_custom_fields"].path).status == requests.codes.not_found:
        raise UntoldError("v1 is answered 404 altogether")
    return found


def statuses(survey: Survey) -> Finding:
    """Check that a segment of each type of members may be asked for its statuses."""
    types = {row["id"]: row.get("entityType") for row in _asked_segments(survey)}
    answers = _statuses_of(survey)
    mistakes = [
        mistake(f"a segment of {types[key]}s is answered {answer.said}", answer)
        for key, answer in answers.items()
        if answer.denied
    ]
    unsure = [
        f"a segment of {types[key]}s is answered {answer.said}"
        for key, answer in answers.items()
        if not answer.ok and not answer.denied
    ]
    if len(kinds := set(types.values())) < _PAIR:
        unsure.append(f"all segments are of {''.join(map(str, kinds))}s")
    return judged(
        mistakes,
        *(f"a segment of {types[key]}s has {len(answer.rows)}" for key, answer in answers.items() if answer.ok),
        unsure=unsure,
    )


def status_numbers(survey: Survey) -> Finding:
    """Check that no number is returned twice among the statuses of one segment."""
    numbers = [[str(row.get("id")) for row in answer.rows] for answer in _statuses_of(survey).values() if answer.ok]
    if not any(len(each) > 1 for each in numbers):
        return untold("too little to tell: no segment that was asked for has two statuses")
    twice = [
        answer
        for answer in _statuses_of(survey).values()
        if answer.ok and len(answer.rows) > len({str(row.get("id")) for row in answer.rows})
    ]
    together = [number for each in numbers for number in set(each)]
    shared = len(together) - len(set(together))
    return judged(
        [mistake(f"numbers are returned twice in {len(twice)} segments", *twice)] if twice else [],
        f"{shared} of {len(together)} are shared by segments",
    )


def v1_bodies(survey: Survey) -> Finding:
    """Check the shapes of the bodies of v1."""
    fields, tags = survey.ask(rows()["contact_custom_fields"].path), survey.ask(rows()["user_defined_tags"].path)
    answers: dict[str, tuple[Answer, bool]] = {
        "members/customFields": (fields, isinstance(fields.body, list)),
        "tags": (tags, isinstance(tags.body, dict) and isinstance(tags.body.get("labels"), list)),
    }
    for segment in _asked_segments(survey)[:1]:
        answer = _statuses(survey, _number(segment))
        answers["segments/{id}/status"] = (answer, isinstance(answer.body, list))
    right = {name: is_right for name, (answer, is_right) in answers.items() if answer.ok}
    missing = [f"{name} is answered {answer.said}" for name, (answer, _) in answers.items() if not answer.ok]
    if len(answers) <= _PAIR:
        missing.append("there is no segment to ask for its statuses")
    return judged(
        [mistake(f"{name} has another body", answers[name][0]) for name, is_right in right.items() if not is_right],
        "rows: " + (", ".join(f"{name} {len(answers[name][0].rows)}" for name in right) or "none"),
        unsure=[
            *missing,
            *too_little(sum(bool(answers[name][0].rows) for name in right), _PAIR, "bodies that have any"),
        ],
    )


def v1_ids(survey: Survey) -> Finding:
    """Check that ids of v1 are whole numbers, and those of v2 without their prefix."""
    of_v1 = survey.of("contact_custom_fields"), survey.ask(rows()["user_defined_tags"].path)
    fields, tags = of_v1[0].rows, of_v1[1].rows
    ids = [row.get("id") for row in [*fields, *tags]]
    mistakes: list[Mistake] = []
    if wrong := [each for each in ids if not str(each).isdecimal() or isinstance(each, bool)]:
        mistakes.append(mistake(f"{len(wrong)} ids are no whole numbers: {forms_of(wrong)}", *of_v1))
    known = {
        "custom fields": (fields, survey.ask(rows()["custom_fields"].path)),
        "tags": (tags, survey.ask(rows()["tags"].path, {"limit": str(survey.page_size)})),
    }
    told = []
    for name, (listed, of_v2) in known.items():
        if listed and of_v2.ok and not of_v2.cursor:
            numbers = {str(row.get("id")).partition("_")[2] for row in of_v2.rows}
            both = sum(str(row.get("id")) in numbers for row in listed)
            told.append(f"{both} of {len(listed)} {name} of v1 have the number of one of v2")
            if not both:
                mistakes.append(mistake_of_all(f"no number of {name} is one of v2", of_v2, *of_v1))
    for segment in _asked_segments(survey)[:1]:
        own = _statuses(survey, _number(segment))
        told.append(f"the statuses of a segment's number are answered {own.said}")
        if own.denied and own.status == requests.codes.not_found:
            mistakes.append(mistake("a segment's number is none in v1", own))
    return judged(mistakes, *told, unsure=too_little(len(ids), _SOME, "ids of v1"))


def _member_params(segment: dict[str, Any], **more: str) -> dict[str, str]:
    return {**more, "segmentId": segment["id"], "limit": "1", "cols": "recordCount"}


def members_of_objects(survey: Survey) -> Finding:
    """Check that the members of a segment of objects are returned by type."""
    segments = survey.segments_of("object")
    if not segments:
        return untold("there is no segment of objects")
    type_ids = survey.need_object_types()
    # The largest tells most.
    segment = max(segments, key=lambda row: row["entityCount"] if isinstance(row.get("entityCount"), int) else 0)
    path = rows()["objects"].path
    answers = {type_id: survey.ask(path, _member_params(segment, objectTypeId=type_id)) for type_id in type_ids}
    # A type that may not be read at all tells nothing of a segment's members.
    refused = [answer for type_id, answer in answers.items() if _is_wrong(answer) and _may_be_read(survey, type_id)]
    failed = [answer for answer in answers.values() if not answer.ok and answer not in refused]
    if len(failed) == len(answers):
        return untold(f"all types are answered {', '.join(sorted({answer.said for answer in failed}))}")
    found = [answer.count for answer in answers.values() if answer.count is not None]
    size = segment.get("entityCount")
    said = ", ".join(sorted({answer.said for answer in refused}))
    mistakes = [mistake(f"{len(refused)} of {len(answers)} types are refused ({said})", *refused)] if refused else []
    unsure = [f"{len(failed)} of {len(answers)} questions failed"] if failed else []
    if not any(found) and not mistakes and not unsure:
        return untold("too little to tell: no type has members of it")
    told = f"by type: {', '.join(map(str, found)) or 'not counted'}"
    # Other things may count than are listed, and at another time.
    more = f"`entityCount`: {size}" if isinstance(size, int) else ""
    return judged(mistakes, told, more, unsure=unsure)


def _is_wrong(answer: Answer) -> bool:
    """Tell whether the question is refused; 403 says that the token may not ask it."""
    return answer.denied and answer.status != requests.codes.forbidden


def _may_be_read(survey: Survey, type_id: str) -> bool:
    return survey.ask(rows()["objects"].path, {"objectTypeId": type_id, "limit": "1"}).ok


def members_of_organizations(survey: Survey) -> Finding:
    """Check that `/organizations` doesn't tell who is in a segment of organizations."""
    segments = survey.segments_of("organization")
    if not segments:
        return untold("there is no segment of organizations")
    everything = whole(survey.counted(survey.listing("organizations"))).count
    answer = survey.ask_too_much(rows()["organizations"].path, _member_params(segments[0]))
    evidence = f"asked for them, the API answers {answer.said}" + (
        f" and counts {answer.count} of {everything}" if answer.ok else ""
    )
    if not everything:
        return untold("too little to tell: there are no organizations", evidence)
    if answer.ok and answer.count != everything:
        again = survey.counted(survey.listing("organizations"), again=True).count
        if again != everything:
            return untold("organizations changed meanwhile", evidence)
        return broken("they can be listed", evidence, seen_in=((answer,),))
    return holds(evidence) if answer.ok or answer.refused else untold(evidence)


def contacts_of_other_segments(survey: Survey) -> Finding:
    """Check that segments of another kind have no contacts."""
    segments = [*survey.segments_of("organization")[:1], *survey.segments_of("object")[:1]]
    if not segments:
        return untold("all segments are of contacts")
    if not whole(survey.thin(survey.listing("contacts"))).rows:
        return untold("too little to tell: there are no contacts")
    answers = [survey.ask_too_much(rows()["contacts"].path, _member_params(segment)) for segment in segments]
    mistakes = [
        mistake(f"a segment of {segment['entityType']}s returns contacts", answer)
        for segment, answer in zip(segments, answers, strict=True)
        if answer.rows
    ]
    return judged(
        mistakes,
        *(
            f"a segment of {segment['entityType']}s is answered {answer.said}, with {counted(len(answer.rows), 'row')}"
            for segment, answer in zip(segments, answers, strict=True)
        ),
        unsure=["a question failed"] if any(not answer.ok and not answer.refused for answer in answers) else [],
    )
