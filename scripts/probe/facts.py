"""Facts: what all answers together tell, beside the rows: columns, statuses, headers, fields, and times."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING, Any

import requests

from scripts.probe import documented
from scripts.probe.forms import counted, forms_of, header_form, key_form
from scripts.probe.headers import USUAL
from source_commonroom.table import rows

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from scripts.probe.answers import Answer
    from scripts.probe.survey import Survey

_BODY, _META = ("success", "data", "meta"), ("nextCursor", "recordCount")


@dataclass(frozen=True)
class Column:
    """What a column of a stream's list answers."""

    stream: str
    name: str
    values: Sequence[Any]
    """Of the records that have it."""
    records: int
    """How many records were looked at."""

    @property
    def form(self) -> str:
        """The forms of its values."""
        return forms_of(value for value in self.values if value is not None)

    @property
    def nulls(self) -> int:
        """How many values are null."""
        return sum(value is None for value in self.values)


def columns(answers: Sequence[Answer]) -> Iterator[Column]:
    """Yield the columns of each list that was read."""
    for stream, answer in _fullest(answers).items():
        for name in sorted({key for row in answer.rows for key in row}):
            values = [row[name] for row in answer.rows if name in row]
            yield Column(stream, key_form(name), values, len(answer.rows))


def _fullest(answers: Sequence[Answer]) -> dict[str, Answer]:
    """Return, by stream, the answer that has the most columns, and of those the one that has the most records."""
    found = {}
    for row in rows().values():
        own = [answer for answer in answers if answer.ok and answer.path == row.path and answer.rows]
        if own:
            found[row.name] = max(
                own, key=lambda each: (len({key for row in each.rows for key in row}), len(each.rows))
            )
    return found


def statuses(answers: Sequence[Answer]) -> Iterator[str]:
    """Yield what else than a 200 in JSON was answered, by path, but for refusals of what had better be refused."""
    odd = [
        answer
        for answer in answers
        if not answer.ok and not (answer.may_be_refused and answer.is_json and not answer.failed)
    ]
    found = Counter((answer.place, answer.said) for answer in odd if not answer.made_up_token)
    for (place, said), number in sorted(found.items()):
        yield f"`{place}`: {said} ({number})"


def headers(answers: Sequence[Answer]) -> Iterator[str]:
    """Yield the names of headers that neither are documented nor are usual."""
    found = Counter(name.lower() for answer in answers for name in answer.headers)
    for name, number in sorted(found.items()):
        if name not in USUAL:
            yield f"`{header_form(name)}` ({counted(number, 'answer')})"


def fields(answers: Sequence[Answer]) -> Iterator[str]:
    """Yield the keys of fields that aren't documented: of bodies, of their `meta`, and of records; and other oddities.

    Those are entries of lists that are no records, and what JSON has that no value can hold.
    """
    around = Counter(
        f"{part}: `{key_form(key)}`"
        for answer in answers
        if answer.ok and isinstance(answer.body, dict) and "success" in answer.body
        for part, found, known in (("body", answer.body, _BODY), ("meta", answer.meta, _META))
        for key in found
        if key not in known
    )
    yield from (f"{name} ({counted(number, 'answer')})" for name, number in sorted(around.items()))
    for stream, number in sorted(_strays(answers).items()):
        yield f"{stream}: entries that are no objects ({number} on a page)"
    oddities = Counter(oddity for answer in answers for oddity in answer.oddities)
    yield from (f"JSON: {oddity} ({counted(number, 'answer')})" for oddity, number in sorted(oddities.items()))
    for stream, answer in _fullest(answers).items():
        paths = [{_told(path) for path in documented.unknown(stream, row)} for row in answer.rows]
        found = Counter(path for of_row in paths for path in of_row)
        yield from (f"{stream}: `{path}` ({counted(number, 'record')})" for path, number in sorted(found.items()))


def _strays(answers: Sequence[Answer]) -> dict[str, int]:
    """Count by stream, on the page that has most, the entries of a list that are no objects."""
    streams = {row.path: row.name for row in rows().values()}
    found: dict[str, int] = {}
    for answer in answers:
        if answer.ok and answer.path in streams and (strays := len(answer.entries) - len(answer.rows)):
            found[streams[answer.path]] = max(strays, found.get(streams[answer.path], 0))
    return found


def _told(path: documented.Path) -> str:
    """Tell the path of an undocumented field: those above it are documented, and its key may be a record's, or not."""
    *above, key = path
    return ".".join([*above, forms_of([key]) if above else key_form(key)])


def times(answers: Sequence[Answer]) -> str:
    """Tell how long answers took: those of all kinds, and of full pages."""
    all_of_them = [answer.seconds for answer in answers if answer.status]
    pages = [answer.seconds for answer in answers if answer.ok and answer.cursor and "cols" in answer.params]
    told = [
        f"{name}: median {median(found):.2f} s, worst {max(found):.2f} s"
        for name, found in (("all answers", all_of_them), ("full pages with columns", pages))
        if found
    ]
    return "; ".join(told) or "none"


def transport(survey: Survey) -> Iterator[str]:
    """Yield how answers were sent: compressed or not, and over how many connections."""
    answers = [answer for answer in survey.client.answers if answer.status]
    encodings = Counter(answer.headers.get("Content-Encoding", "none") for answer in answers)
    known = {"none", "gzip", "deflate", "br", "zstd"}
    yield "compression: " + ", ".join(
        f"{name if name in known else 'another'} ({n})" for name, n in encodings.most_common()
    )
    if (connections := survey.client.connections()) is not None:
        yield f"connections: {connections} for {counted(survey.client.sent, 'request')}"
    if survey.client.repeats:
        yield f"asked again: {counted(survey.client.repeats, 'time')}, what had failed or would have broken a row"
    limited = sum(answer.status == requests.codes.too_many_requests for answer in answers)
    yield f"429: {counted(limited, 'answer')}"
