"""Personal data in the output of a whole sync: none of it, whatever the stream, searched for in the raw bytes."""

import json
import re
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
from airbyte_cdk.models import AirbyteStreamStatus

from integration_tests.conftest import RunCommand, Serve
from integration_tests.connector import start
from integration_tests.fork_server import LONGEST
from integration_tests.sandbox import Workspace
from unit_tests.streams import STREAMS, catalog

WORD = re.compile(r"\w+")
SALT = "a-salt-of-the-tests-5150"


def in_json(value: str) -> set[str]:
    """Give a text as it may stand in JSON: as it is, or escaped to ASCII."""
    return {json.dumps(value, ensure_ascii=False)[1:-1], json.dumps(value)[1:-1]}


def found_in(text: str, personal: set[str]) -> list[str]:
    """List the personal texts that stand in an output."""
    # Who stands there does so with the longest of their words, and to search all words, each once, takes little time.
    words = "\n".join(set(WORD.findall(text)))

    def stands(form: str) -> bool:
        return max(WORD.findall(form), key=len, default="") in words and form in text

    return sorted(value for value in personal if any(map(stands, in_json(value))))


def addresses(record: Any, path: str = "") -> list[tuple[str, str]]:
    """List all texts in a record, each with its path."""
    if isinstance(record, dict):
        return [found for name, part in record.items() for found in addresses(part, f"{path}.{name}")]
    if isinstance(record, list):
        return [found for part in record for found in addresses(part, path)]
    return [(path, record)] if isinstance(record, str) else []


@pytest.mark.parametrize("pii", ["hash", "drop"])
def test_when_personal_data_is_not_kept_then_none_of_it_stands_anywhere_in_the_output(
    pii: str, serve: Serve, command: RunCommand, generated: Workspace
) -> None:
    personal = generated.personal_values()
    assert len(personal) > 1_000

    result = command("read", serve(), pii={"mode": pii, "salt": SALT})

    # Texts that nothing else contains by chance.
    assert found_in(result.text, personal) == []
    assert SALT not in result.text
    for stream in STREAMS:
        assert result.status(stream.name) == AirbyteStreamStatus.COMPLETE
        assert len(result.records(stream.name)) > 0, stream.name
    assert result.exit_code == 0


@pytest.mark.parametrize("pii", ["keep", "hash", "drop"])
def test_given_a_debug_log_when_read_then_it_has_the_bodies_of_answers_only_where_personal_data_is_kept(
    pii: str, serve: Serve, generated: Workspace, tmp_path: Path
) -> None:
    sandbox = serve()
    config = {"api_token": sandbox.token, "api_url": sandbox.api_url, "pii": {"mode": pii, "salt": SALT}}

    running = start(tmp_path, "read", config, catalog(), options=["--debug"])
    code = running.process.wait(LONGEST)
    running.reader.join()

    lines = running.lines()
    answers = [json.loads(line)["data"] for line in lines if '"Receiving response"' in line]
    assert len(answers) > len(STREAMS)
    assert {answer["status"] for answer in answers} == {"200"}
    kept = pii == "keep"
    assert {answer["body"][0] in "{[" for answer in answers} == {kept}
    if not kept:
        assert found_in("\n".join(lines) + running.stderr.read_text(), generated.personal_values()) == []
    assert code == 0


def test_given_hashes_when_read_then_the_same_address_has_the_same_hash_everywhere(
    serve: Serve, command: RunCommand
) -> None:
    sandbox = serve()
    kept = command("read", sandbox)
    hashed = command("read", sandbox, pii={"mode": "hash", "salt": SALT})

    hashes: dict[str, set[str]] = defaultdict(set)
    places: dict[str, set[str]] = defaultdict(set)
    for name in ("contacts", "organizations", "objects", "me"):
        plain = {row["id"]: row for row in kept.records(name)}
        for row in hashed.records(name):
            before, after = dict(addresses(plain[row["id"]])), dict(addresses(row))
            for path, value in before.items():
                if path in after and value.count("@") == 1 and " " not in value.strip():
                    hashes[value.strip().lower()].add(after[path])
                    places[value.strip().lower()].add(f"{name}{path}")
    assert any(len(found) > 1 for found in places.values())
    assert all(len(found) == 1 for found in hashes.values())
    assert all(len(found) == 64 for values in hashes.values() for found in values)
