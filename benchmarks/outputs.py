"""What a contender delivered, read from its output after it has ended, so that all are known to have done the same."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson

from benchmarks.measure import STDOUT

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from benchmarks.site import Site

Delivery = tuple[str, str]
"""A record's stream and id."""


@dataclass(frozen=True)
class Delivered:
    """The records of an output."""

    records: int
    ids: dict[str, set[str]]

    @classmethod
    def of(cls, deliveries: Iterable[Delivery]) -> Delivered:
        """Count."""
        records, ids = 0, defaultdict(set)
        for stream, record_id in deliveries:
            records += 1
            ids[stream].add(record_id)
        return cls(records, dict(ids))

    def is_all(self, site: Site, streams: tuple[str, ...]) -> bool:
        """Tell whether nothing of a site is missing; a site's ids are as many as its records."""
        return all(len(self.ids.get(stream, ())) == site.size(stream) for stream in streams)


def lines(folder: Path) -> Iterator[Any]:
    """Parse the lines on stdout. What a killed process left unfinished isn't one."""
    with (folder / STDOUT).open("rb") as output:
        for line in output:
            if line.endswith(b"\n"):
                yield orjson.loads(line)


def airbyte(folder: Path) -> Iterator[Delivery]:
    """Read Airbyte's messages."""
    for message in lines(folder):
        if message["type"] == "RECORD":
            yield message["record"]["stream"], message["record"]["data"]["id"]


def singer(folder: Path) -> Iterator[Delivery]:
    """Read Singer's messages."""
    for message in lines(folder):
        if message["type"] == "RECORD":
            yield message["stream"], message["record"]["id"]


def bare(folder: Path) -> Iterator[Delivery]:
    """Read the bare client's lines."""
    for line in lines(folder):
        yield line["stream"], line["data"]["id"]


def dlt(folder: Path) -> Iterator[Delivery]:
    """Read dlt's load package: files named `<stream>.<number>.<format>`, a page a line."""
    for path in folder.glob("benchmark/normalize/**/new_jobs/*.typed-jsonl"):
        stream = path.name.partition(".")[0]
        if stream.startswith("_"):  # dlt's own
            continue
        with path.open("rb") as file:
            for line in file:
                for record in orjson.loads(line):
                    yield stream, record["id"]


@dataclass(frozen=True)
class Interrupted:
    """What a run of the connector left for the next one."""

    states: list[Any]
    """The last state of each stream, in the form that `--state` takes."""
    all_ids: set[str]
    stated_ids: set[str]
    """Only what was printed before the last state: what a destination is sure to have kept."""

    @classmethod
    def read(cls, folder: Path) -> Interrupted:
        """Read the output of a run of one stream."""
        states: dict[str, Any] = {}
        pending: set[str] = set()
        stated: set[str] = set()
        for message in lines(folder):
            if message["type"] == "RECORD":
                pending.add(message["record"]["data"]["id"])
            elif message["type"] == "STATE":
                state = message["state"]
                states[state["stream"]["stream_descriptor"]["name"]] = state
                stated |= pending
                pending = set()
        return cls(list(states.values()), stated | pending, stated)
