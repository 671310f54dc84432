"""What a contender is to do: where the API is, and what to read of it, the same for all."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from benchmarks.site import PAGE_SIZE
from integration_tests.sandbox.endpoints import ENDPOINTS

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

CUSTOM_FIELDS = "cf_*"


@dataclass(frozen=True)
class Job:
    """A job, and the folder that takes its files and its output."""

    folder: Path
    api_url: str
    token: str
    streams: tuple[str, ...]
    requests_per_second: int | None = None
    start_date: str = "1970-01-01T00:00:00Z"
    """Not later than any activity's; for who has to name one."""
    config: Mapping[str, Any] = field(default_factory=dict)
    """More properties of the connector's configuration."""
    state: list[Any] | None = None
    """The state that the connector goes on from."""

    def write(self, name: str, content: Any) -> str:
        """Write a file of JSON into the folder and tell where it is."""
        path = self.folder / f"{name}.json"
        path.write_text(json.dumps(content), encoding="utf-8")
        return str(path)


def peer_stream(name: str) -> dict[str, Any]:
    """Describe a stream to a peer: its path, its parameters (full pages, all columns), the columns of its records."""
    endpoint = ENDPOINTS[f"/v2/{name}"]
    custom = bool(endpoint.custom_fields_of)
    return {
        "name": name,
        "path": endpoint.path,
        "params": {"limit": PAGE_SIZE, "cols": ",".join([*endpoint.on_request, *([CUSTOM_FIELDS] if custom else [])])},
        "columns": [*endpoint.always, *endpoint.on_request, *(["customFields"] if custom else [])],
    }
