"""The contenders: how each is started for a job, and how to read what it delivered."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks import outputs
from benchmarks.emulator import ROOT
from benchmarks.job import peer_stream

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from benchmarks.job import Job

BIN = Path(sys.executable).parent
CONNECTOR = str(BIN / "source-commonroom")
PEERS = Path(__file__).parent / "peers"
PEER_PYTHON = ROOT / ".venv-bench" / "bin" / "python"

NO_LIMIT = 1_000
"""The most requests a second that the connector's configuration takes."""
INCREMENTAL = "activities"


@dataclass(frozen=True)
class Contender:
    """A program that is measured."""

    name: str
    command: Callable[[Job], list[str]]
    """Writes what the program needs into the job's folder, and tells how to start it there."""
    deliveries: Callable[[Path], Iterator[outputs.Delivery]] | None = None
    """Reads the output; None for a program that delivers no records."""


def connector(job: Job) -> list[str]:
    """Run the connector's `read`."""
    return [CONNECTOR, "read", *_read_arguments(job, connector_config(job))]


def connector_config(job: Job) -> dict[str, Any]:
    """Configure the connector for the whole history, within the API's rate limit."""
    return {
        "api_url": job.api_url,
        "api_token": job.token,
        "requests_per_second": job.requests_per_second or NO_LIMIT,
        **job.config,
    }


def lowcode(job: Job) -> list[str]:
    """Run the stock manifest by the command that comes with airbyte-cdk."""
    config = {"api_url": job.api_url, "api_token": job.token, "start_date": job.start_date}
    manifest = ["--manifest-path", str(PEERS / "lowcode.yaml")]
    return [str(BIN / "source-declarative-manifest"), "read", *_read_arguments(job, config), *manifest]


def peer(script: str) -> Callable[[Job], list[str]]:
    """Make the command of a script in `peers/`, run in the peers' environment."""

    def command(job: Job) -> list[str]:
        if not PEER_PYTHON.exists():
            raise FileNotFoundError(f"{PEER_PYTHON}: `make bench` sets the peers' environment up")
        streams = [peer_stream(name) for name in job.streams]
        content = {"api_url": job.api_url, "token": job.token, "streams": streams}
        return [str(PEER_PYTHON), str(PEERS / script), job.write("job", content)]

    return command


def _read_arguments(job: Job, config: dict[str, Any]) -> list[str]:
    arguments = ["--config", job.write("config", config), "--catalog", job.write("catalog", catalog(job.streams))]
    return arguments if job.state is None else [*arguments, "--state", job.write("state", job.state)]


def catalog(streams: tuple[str, ...]) -> dict[str, Any]:
    """Configure streams with all their columns, incremental if they can be."""
    return {
        "streams": [_configured(name, "incremental" if name == INCREMENTAL else "full_refresh") for name in streams]
    }


def _configured(name: str, mode: str) -> dict[str, Any]:
    modes = sorted({"full_refresh", mode})
    columns: dict[str, Any] = {column: {} for column in peer_stream(name)["columns"]}
    return {
        "stream": {
            "name": name,
            "json_schema": {"type": "object", "properties": columns},
            "supported_sync_modes": modes,
            "source_defined_primary_key": [["id"]],
        },
        "sync_mode": mode,
        "destination_sync_mode": "append_dedup",
        "primary_key": [["id"]],
    }


CONTENDERS = {
    contender.name: contender
    for contender in (
        Contender("connector", connector, outputs.airbyte),
        Contender("dlt", peer("dlt_extract.py"), outputs.dlt),
        Contender("singer", peer("singer_tap.py"), outputs.singer),
        Contender("lowcode", lowcode, outputs.airbyte),
        Contender("bare", peer("bare.py"), outputs.bare),
    )
}
