"""The connector as a process, run as Airbyte runs it: files in, messages on stdout, an exit code."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from airbyte_cdk.models import (
    AirbyteMessageSerializer,
    AirbyteStateMessage,
    ConfiguredAirbyteCatalog,
    ConfiguredAirbyteCatalogSerializer,
)
from airbyte_cdk.models.airbyte_protocol_serializers import AirbyteStateMessageSerializer

from unit_tests.output import Output

MAIN = Path(__file__).resolve().parent.parent / "main.py"


def run(
    folder: Path,
    command: str,
    config: Any = None,
    catalog: ConfiguredAirbyteCatalog | None = None,
    state: list[AirbyteStateMessage] | None = None,
    program: Sequence[str] = (sys.executable, str(MAIN)),
    options: Sequence[str] = (),
) -> Output:
    """Run a command; ``folder`` takes its files. Every line on stdout has to be a valid Airbyte message.

    :param program: what comes before the command, the connector by default
    :param options: what comes after its own arguments
    """
    files = {
        "config": config,
        "catalog": catalog and ConfiguredAirbyteCatalogSerializer.dump(catalog),
        "state": state and [AirbyteStateMessageSerializer.dump(message) for message in state],
    }
    arguments: list[str] = []
    for name, content in files.items():
        if content is not None:
            path = folder / f"{name}.json"
            path.write_text(json.dumps(content))
            arguments += [f"--{name}", str(path)]
    process = subprocess.run(
        [*program, command, *arguments, *options],
        capture_output=True,
        encoding="utf-8",
        check=False,
        # What lets source-declarative-manifest load components; the connector doesn't ask.
        env={**os.environ, "AIRBYTE_ENABLE_UNSAFE_CODE": "true"},
    )
    # Not splitlines(): texts hold U+2028 and the like, which JSON doesn't escape.
    lines = process.stdout.split("\n")[:-1]
    messages = [AirbyteMessageSerializer.load(json.loads(line)) for line in lines]
    return Output(process.returncode, messages, process.stdout + process.stderr)
