"""The streams of ``manifest.yaml``: what it says of each in its ``$parameters``, as the Python connector reads it."""

import pkgutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import cache
from typing import Any

from airbyte_cdk.utils.yaml_loader import safe_load_yaml

# The key that a definition names its base by, and what that begins with.
_REFERENCE, _DEFINITIONS = "$ref", "#/definitions/"
# What stands beside a stream's parameters.
_BESIDE_PARAMETERS = {"primary_key", "cursor_field"}


@dataclass(frozen=True, kw_only=True)
class StreamRow:
    """What the API has of one stream.

    All but the key and the cursor field stands in the stream's ``$parameters``, by the same names.
    """

    name: str
    endpoint: str
    """What follows the version in its address, and what messages call it."""
    version: str = "v2"
    address: str = ""
    """Its path below that of the API, with fields of a slice in braces; empty if it is version and endpoint."""
    page: str = "paged"
    """The kind of page that it serves, see :func:`~source_commonroom.api.page.parse_page`."""
    cols: str = ""
    """The columns to ask for, separated by commas."""
    expensive: Sequence[str] = ()
    """Those of them that take the API longest."""
    counts: bool = False
    """Whether the API counts its records for each list. What is read by time is counted by its windows instead."""
    both_ends: bool = False
    """Whether it can be sorted by id either way."""
    entity: str = ""
    """Whose custom fields its records have: ``contact``, ``organization`` or ``object``; empty if they have none."""
    schema: str = ""
    """The name of its schema's file; empty if that is the stream's."""
    slices: str = ""
    """What it is read by: segments, types of objects, …; empty if it is one list."""
    slice_fields: Sequence[str] = ()
    """What its records get of their slice."""
    field_mapping: Mapping[str, str] = field(default_factory=dict)
    """The only fields of its records, and what a row calls each; empty for all."""
    dedupe_across: str = ""
    """The field of slices that may contain a record twice."""
    primary_key: Sequence[str] = ("id",)
    cursor_field: str = ""
    """The timestamp by which it is read incrementally; empty if it is always read in full."""

    @property
    def path(self) -> str:
        """Its path below that of the API."""
        return self.address or f"{self.version}/{self.endpoint}"


@cache
def load_manifest() -> Mapping[str, Any]:
    """Return ``manifest.yaml`` as it is written, references unresolved; don't change it."""
    text = pkgutil.get_data(__package__, "manifest.yaml")
    assert text is not None, "a package without its manifest"  # noqa: S101  # for the type checker; the build includes it
    manifest: dict[str, Any] = safe_load_yaml(text)
    return manifest


@cache
def rows() -> Mapping[str, StreamRow]:
    """Return all streams of the manifest by name, in its order.

    :raises ValueError: if one has a parameter that isn't known; a misspelled one would be as good as absent
    """
    manifest = load_manifest()
    found = [_row(manifest, stream) for stream in manifest["streams"]]
    return {row.name: row for row in found}


def _row(manifest: Mapping[str, Any], stream: Mapping[str, Any]) -> StreamRow:
    said = stream["$parameters"]
    known = {each.name for each in fields(StreamRow)} - _BESIDE_PARAMETERS
    if unknown := sorted(said.keys() - known):
        raise ValueError(
            f"manifest.yaml: in the $parameters of {said.get('name', 'a stream')}, table.py doesn't know "
            f"{', '.join(unknown)}. It knows {', '.join(sorted(known))}."
        )
    incremental = _inherited(manifest, stream, "incremental_sync")
    return StreamRow(
        **said,
        primary_key=_inherited(manifest, stream, "primary_key"),
        cursor_field=_inherited(manifest, incremental, "cursor_field") if incremental else "",
    )


def _inherited(manifest: Mapping[str, Any], definition: Mapping[str, Any], name: str) -> Any:
    """Return what a definition says of a name, or else the nearest of its bases; None if none does."""
    return next((each[name] for each in _bases(manifest, definition) if name in each), None)


def _bases(manifest: Mapping[str, Any], definition: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Yield a definition and those that it is based on, the nearest first."""
    yield definition
    while reference := definition.get(_REFERENCE):
        definition = manifest["definitions"][reference.removeprefix(_DEFINITIONS)]
        yield definition
