"""Checks of records: their columns, types and custom fields."""

from __future__ import annotations

from collections import Counter
from datetime import datetime
from typing import TYPE_CHECKING, Any

from scripts.probe import documented
from scripts.probe.findings import ENOUGH_RECORDS, Finding, Mistake, judged, mistake, too_little, untold
from scripts.probe.forms import VALUE_TYPES, forms_of, time_form, time_forms, type_word
from scripts.probe.survey import whole
from source_commonroom.table import rows

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from scripts.probe.answers import Answer
    from scripts.probe.survey import Survey

ALL_FIELDS = "cf_*"
MOST_FIELDS = 200
_FIELDS = "customFields"
_ENTITIES = ("contact", "organization")
_STREAMS, _KINDS, _FIELD_VALUES, _TIMES, _SOME = 5, 3, 20, 10, 3
"""So many streams, types of fields, values of fields, timestamps, or definitions, it takes to tell of all of them."""


# Columns


def _records(survey: Survey) -> Iterator[tuple[str, dict[str, Any], Answer]]:
    """Yield the records of all lists, those that aren't paged too, with their stream, and the answer they stand in."""
    for listing in survey.listings:
        if (answer := survey.read.get(listing.name)) is not None:
            yield from ((listing.row.name, row, answer) for row in answer.rows)
    for row in rows().values():
        if row.page in {"list", "object"}:
            answer = survey.ask(row.path)
            yield from ((row.name, record, answer) for record in (answer.rows if answer.ok else ()))


class _Mistakes:
    """Mistakes that are counted, each with the first answer that shows it."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._seen_in: dict[str, Answer] = {}

    def add(self, text: str, seen_in: Answer) -> None:
        self._counts[text] += 1
        self._seen_in.setdefault(text, seen_in)

    def of(self, what: str) -> list[Mistake]:
        """Return them, the most frequent first; `what` is what they are counted by."""
        return [
            mistake(f"{text} in {number} {what}", self._seen_in[text]) for text, number in self._counts.most_common()
        ]


def all_columns(survey: Survey) -> Finding:
    """Check that all columns of a list may be asked for at once."""
    wanted = {listing.name: listing for listing in survey.leading if listing.columns and survey.thin(listing).ok}
    if not wanted:
        return untold("none of the lists with columns could be read")
    answers = {name: survey.with_columns(listing, listing.columns) for name, listing in wanted.items()}
    pages = {name: survey.full(listing) for name, listing in wanted.items()}
    mistakes = [
        mistake(
            f"{name} is answered {answers[name].said}; "
            f"refused: {', '.join(survey.refused_columns.get(name, ['unknown']))}",
            answers[name],
        )
        for name, page in pages.items()
        if name in survey.refused_columns or page.denied
    ]
    unsure = [f"{name} is answered {page.said}" for name, page in pages.items() if not page.ok and not page.denied]
    told = [
        f"{name}: {len(wanted[name].columns)} columns of {len(page.rows)} records in {page.seconds:.1f} s"
        for name, page in pages.items()
    ]
    late = [f"{name}: a full page is answered {answer.said}" for name, answer in answers.items() if answer.failed]
    unsure += too_little(sum(bool(page.rows) for page in pages.values()), 1, "lists with records")
    return judged(mistakes, *late, *told, unsure=unsure)


def thin_records(survey: Survey) -> Finding:
    """Check that records have their fixed columns without asking, and those asked for when they are."""
    mistakes: list[Mistake] = []
    told = []
    for listing in survey.leading:
        thin, full = survey.thin(listing), survey.full(listing)
        if not listing.columns or not thin.ok or not thin.rows:
            continue
        asked = {_FIELDS if column == ALL_FIELDS else column for column in listing.columns}
        fixed = set(documented.properties(listing.row.name)) - asked - set(listing.row.slice_fields)
        there = {key for row in thin.rows for key in row}
        if absent := fixed - there:
            mistakes.append(mistake(f"{listing.name} lacks {', '.join(sorted(absent))} unless asked for", thin))
        seen = {key for row in full.rows for key in row} & asked
        if full.rows and not seen:
            mistakes.append(mistake(f"{listing.name} has none of the columns asked for", full))
        unasked = sorted(there & asked)
        never = sorted(asked - seen)
        told.append(
            f"{listing.name}: {len(there)} keys, {len(seen)} of {len(asked)} columns asked for"
            + (f", unasked {', '.join(unasked)}" if unasked else "")
            + (f", in no record {', '.join(never)}" if never else "")
        )
    if not told:
        return untold("none of the lists with columns has records")
    return judged(mistakes, *told)


def keys_are_there(survey: Survey) -> Finding:
    """Check that keys and `activityTime` are never null or absent, and tell how often other columns are."""
    mistakes = _Mistakes()
    empty = total = records = 0
    for stream, record, answer in _records(survey):
        records += 1
        for column in documented.properties(stream):
            missing = record.get(column) is None
            total, empty = total + 1, empty + missing
            if missing and (column in rows()[stream].primary_key or column == rows()[stream].cursor_field):
                mistakes.add(f"{stream}: no `{column}`", answer)
    return judged(
        mistakes.of("records"),
        f"{empty} of {total} values are null or absent",
        unsure=too_little(records, ENOUGH_RECORDS, "records"),
    )


def types(survey: Survey) -> Finding:
    """Check that values are of the types that are documented for their columns."""
    mistakes = _Mistakes()
    streams: Counter[str] = Counter()
    for stream, record, answer in _records(survey):
        streams[stream] += 1
        for path in set(documented.misfits(stream, record)):
            mistakes.add(f"{stream}: `{'.'.join(path)}`", answer)
    return judged(
        mistakes.of("records"),
        f"{streams.total()} records of {len(streams)} streams looked at",
        unsure=[
            *too_little(streams.total(), ENOUGH_RECORDS, "records"),
            *too_little(len(streams), _STREAMS, "streams that have any"),
        ],
    )


def timestamps(survey: Survey) -> Finding:
    """Check that timestamps are ISO 8601 with a zone."""
    found = [
        (text, answer) for stream, record, answer in _records(survey) for text in documented.timestamps(stream, record)
    ]
    mistakes = _Mistakes()
    for text, answer in found:
        if not _is_moment(text):
            mistakes.add(time_form(text), answer)
    return judged(
        mistakes.of("timestamps"),
        f"forms: {time_forms(text for text, _ in found) or 'none'}",
        unsure=too_little(len(found), _TIMES, "timestamps"),
    )


def _is_moment(text: str) -> bool:
    try:
        return datetime.fromisoformat(text).tzinfo is not None
    except ValueError:
        return False


# Custom fields


def fields_by_type(survey: Survey) -> Finding:
    """Check that the fields of each type of objects are answered, and no others."""
    type_ids = survey.need_object_types()
    mistakes: list[Mistake] = []
    unsure: list[str] = []
    sizes: list[int] = []
    for place, type_id in enumerate(type_ids, start=1):
        answer = survey.ask(rows()["custom_fields"].path, {"entityType": type_id})
        if answer.denied:
            mistakes.append(mistake(f"type {place} is answered {answer.said}", answer))
        elif not answer.ok:
            unsure.append(f"type {place} is answered {answer.said}")
        if not answer.ok:
            continue
        sizes.append(len(answer.rows))
        if others := sum(row.get("objectTypeId") != type_id for row in answer.rows):
            mistakes.append(mistake(f"type {place} returns {others} fields of others", answer))
    fields = f", with {', '.join(map(str, sizes))} fields" if sizes else ""
    told = f"answered: {len(sizes)} of {len(survey.all_object_types)} types{fields}"
    if not mistakes and not any(sizes):
        return untold("too little to tell: no type has fields", *unsure, told)
    return judged(mistakes, told, unsure=unsure)


def value_types(survey: Survey) -> Finding:
    """Check that each custom field has a type, and tell which ones."""
    answer = survey.of("custom_fields")
    found = answer.rows
    if not found:
        return untold("there are no custom fields")
    kinds = [row.get("valueType") for row in found]
    without = sum(not isinstance(kind, str) for kind in kinds)
    counted = Counter(map(type_word, kinds))
    new = [kind for kind in counted if kind not in VALUE_TYPES]
    return judged(
        [mistake(f"{without} fields have no type", answer)] if without else [],
        ", ".join(f"{kind} ({number})" for kind, number in counted.most_common()),
        f"not documented: {', '.join(new)}" if new else "",
        unsure=too_little(len(found), _SOME, "custom fields"),
    )


def _values(survey: Survey) -> Iterator[tuple[str, Any, Answer]]:
    """Yield the id and the entry of each custom field of each record that was read, and the answer it stands in."""
    for answer in survey.read.values():
        for row in answer.rows:
            yield from ((key, entry, answer) for key, entry in _fields(row).items())


def _fields(record: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the custom fields of a record."""
    found = record.get(_FIELDS)
    return found if isinstance(found, dict) else {}


def field_values(survey: Survey) -> Finding:
    """Check that the values of custom fields are of the types of their definitions."""
    kinds = {str(row.get("id")): row.get("valueType") for row in survey.of("custom_fields").rows}
    mistakes = _Mistakes()
    looked_at: Counter[str] = Counter()
    unjudged = 0
    for key, entry, answer in _values(survey):
        kind = kinds.get(key)
        if not isinstance(kind, str) or kind not in VALUE_TYPES or not isinstance(entry, dict):
            unjudged += 1
            continue
        value = entry.get("value")
        # None tells nothing of its type.
        looked_at[kind] += value is not None
        if entry.get("type") != kind:
            mistakes.add(f"`type` isn't the `valueType` {kind}", answer)
        wrong = [each for each in (value if isinstance(value, list) else [value]) if not _is_of(kind, each)]
        if wrong:
            mistakes.add(f"{kind}: {forms_of(wrong[:1])}", answer)
    kinds_seen = {kind: number for kind, number in looked_at.most_common() if number}
    return judged(
        mistakes.of("values"),
        f"values: {', '.join(f'{kind} {number}' for kind, number in kinds_seen.items()) or 'none'}",
        f"{unjudged} of fields without a definition or of another type",
        unsure=[
            *too_little(looked_at.total(), _FIELD_VALUES, "values of custom fields"),
            *too_little(len(kinds_seen), _KINDS, "types of custom fields that have values"),
        ],
    )


def _is_of(kind: Any, value: Any) -> bool:
    if value is None:
        return True
    if kind == "boolean":
        return isinstance(value, bool)
    if kind in {"int", "number"}:
        whole_number = isinstance(value, int) or (isinstance(value, float) and value.is_integer())
        return not isinstance(value, bool) and (whole_number if kind == "int" else isinstance(value, int | float))
    return isinstance(value, str) and (kind != "date" or _is_date(value))


def _is_date(text: str) -> bool:
    try:
        return bool(datetime.fromisoformat(text))
    except ValueError:
        return False


def several_values(survey: Survey) -> Finding:
    """Check that contacts have lists only in fields that take several values, as v1 tells."""
    told = survey.of("contact_custom_fields").rows
    several = {f"cf_{row.get('id')}": row.get("multivalue") is True for row in told}
    contacts = whole(survey.full(survey.listing("contacts")))
    found: dict[bool, list[Any]] = {True: [], False: []}
    for row in contacts.rows:
        for key, entry in _fields(row).items():
            if key in several and isinstance(entry, dict):
                found[several[key]].append(entry.get("value"))
    if not any(found.values()):
        return untold("no contact has a value of a field that v1 tells of")
    lists = sum(isinstance(value, list) for value in found[False])
    return judged(
        [mistake(f"{lists} values of fields that take one are lists", contacts)] if lists else [],
        f"{sum(several.values())} of {len(several)} fields take several values",
        f"their values: {forms_of(found[True])}",
        unsure=[] if found[True] else ["no contact has a value of a field that takes several"],
    )


def single_fields(survey: Survey) -> Finding:
    """Check that fields may be named one by one, many at once, and not those of another type of objects."""
    contacts = survey.listing("contacts")
    whole(survey.thin(contacts))
    ids = [str(row["id"]) for row in survey.fields_of("contact") if "id" in row]
    if len(ids) <= 1:
        return untold("too little to tell: contacts have no two custom fields")
    mistakes: list[Mistake] = []
    told: list[str] = []
    unsure: list[str] = []
    for wanted in (ids[:1], ids[:MOST_FIELDS]):
        answer = survey.with_columns(contacts, wanted, limit="2")
        told.append(f"{len(wanted)} at once: {answer.said}")
        others = {key for row in answer.rows for key in _fields(row)} - set(wanted)
        if others:
            mistakes.append(mistake(f"asked for {len(wanted)} at once, it returns {len(others)} more", answer))
        elif answer.denied:
            mistakes.append(mistake(f"asked for {len(wanted)} at once, it answers {answer.said}", answer))
        elif not answer.ok:
            unsure.append(f"asked for {len(wanted)} at once, it answers {answer.said}")
    if foreign := _foreign_field(survey):
        params, field_id = foreign
        answer = survey.ask_too_much(rows()["objects"].path, {**params, "limit": "2", "cols": field_id})
        told.append(f"one of another type of objects: {answer.said}")
        if answer.ok:
            mistakes.append(mistake("a field of another type of objects isn't refused", answer))
        elif not answer.refused:
            unsure.append("the question of a field of another type failed")
    return judged(mistakes, *told, unsure=unsure)


def _foreign_field(survey: Survey) -> tuple[dict[str, str], str] | None:
    """Return the parameters of a type of objects, and a field of another type; None if there are no two."""
    by_type = {type_id: survey.fields_of(type_id) for type_id in survey.object_types}
    for type_id, own in by_type.items():
        known = [row.get("id") for row in own]
        for other in by_type.values():
            for row in other:
                if row.get("id") not in known and row.get("objectTypeId") not in (None, type_id):
                    return {"objectTypeId": type_id}, str(row["id"])
    return None
