"""The connector as a process in other environments: locales, encodings, closed streams, pipes, read-only disks.

Most of these are interpreters that were started, and not forked (see `fork_server.py`): what an interpreter makes of
its environment, it makes as it starts.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from integration_tests import fork_server
from integration_tests.conftest import Serve
from integration_tests.connector import MAIN
from integration_tests.sandbox import Api, Sandbox, Workspace

LABEL = "Größe → 大小"


def config_of(sandbox: Sandbox, **more: Any) -> dict[str, Any]:
    return {"api_token": sandbox.token, "api_url": sandbox.api_url, **more}


@pytest.fixture
def workspace() -> Workspace:
    return Workspace.of(
        custom_fields=[
            {"id": "cf_1", "entityTypes": ["contact"], "name": LABEL, "type": "string", "valueType": "string"}
        ],
        contacts=[{"id": "c_1", "name": LABEL}],
        segments=[],
        object_types=[],
    )


def run(*words: str, **more: Any) -> subprocess.CompletedProcess[bytes]:
    environment = {**os.environ, **more.pop("env", {})}
    return subprocess.run(
        [sys.executable, str(MAIN), *words], env=environment, capture_output="stderr" not in more, check=False, **more
    )


@pytest.mark.parametrize(
    "env", [{"PYTHONIOENCODING": "ascii"}, {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}]
)
def test_given_another_locale_when_discovered_and_read_then_every_byte_is_utf8(
    env: dict[str, str], serve: Serve, workspace: Workspace, tmp_path: Path
) -> None:
    sandbox = serve(Api(workspace))
    config = tmp_path / "größe.json"
    # A comment of the user's, as UTF-8, with the mark that Windows' editors put before it.
    config.write_text(json.dumps(config_of(sandbox, note=LABEL), ensure_ascii=False), encoding="utf-8-sig")

    discovered = run("discover", "--config", str(config), env=env)

    assert discovered.returncode == 0, discovered.stderr.decode()
    (found,) = [json.loads(line) for line in discovered.stdout.decode().splitlines() if '"CATALOG"' in line]
    (contacts,) = [stream for stream in found["catalog"]["streams"] if stream["name"] == "contacts"]
    assert LABEL in json.dumps(contacts, ensure_ascii=False)

    catalog = tmp_path / "catalog.json"
    configured = {"stream": contacts, "sync_mode": "full_refresh", "destination_sync_mode": "overwrite"}
    catalog.write_text(json.dumps({"streams": [configured]}, ensure_ascii=False), encoding="utf-8-sig")
    read = run("read", "--config", str(config), "--catalog", str(catalog), env=env)

    assert read.returncode == 0
    assert LABEL in read.stdout.decode()


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-32"])
def test_given_a_file_in_another_encoding_when_checked_then_the_message_names_it(encoding: str, tmp_path: Path) -> None:
    config = tmp_path / "config.json"
    config.write_text(json.dumps({"api_token": "secret-token-1"}), encoding=encoding)

    checked = fork_server.run([str(MAIN), "check", "--config", str(config)])

    assert checked.returncode == 0
    (status,) = [json.loads(line)["connectionStatus"] for line in checked.stdout.splitlines() if b"FAILED" in line]
    assert encoding.upper()[:6] in status["message"]
    assert "Save it in UTF-8" in status["message"]
    assert b"secret-token-1" not in checked.stdout + checked.stderr


def test_given_a_closed_stderr_when_read_then_the_exit_code_is_that_of_the_sync(
    serve: Serve, workspace: Workspace, tmp_path: Path
) -> None:
    config = tmp_path / "config.json"
    config.write_text(json.dumps(config_of(serve(Api(workspace)))))
    words = f'{sys.executable} "{MAIN}" check --config "{config}"'

    closed = subprocess.run(["/bin/sh", "-c", f"{words} 2>&-"], stdout=subprocess.PIPE, check=False)
    # A reader that is gone: what is written to stderr raises, and fails once more when Python ends.
    reader, writer = os.pipe()
    os.close(reader)
    gone = subprocess.run(
        [sys.executable, "-W", "always", str(MAIN), "check", "--config", str(config)],
        stdout=subprocess.PIPE,
        stderr=writer,
        check=False,
    )
    os.close(writer)

    assert (closed.returncode, gone.returncode) == (0, 0)
    assert b"SUCCEEDED" in closed.stdout
    assert b"SUCCEEDED" in gone.stdout


def test_given_a_pipe_for_a_configuration_when_checked_then_it_is_read(serve: Serve, workspace: Workspace) -> None:
    config = json.dumps(config_of(serve(Api(workspace))))

    checked = subprocess.run(
        ["/bin/bash", "-c", f"{sys.executable} '{MAIN}' check --config <(echo '{config}')"],
        capture_output=True,
        check=False,
    )

    assert checked.returncode == 0
    assert b"SUCCEEDED" in checked.stdout


def test_given_no_directory_for_temporary_files_when_checked_then_the_message_says_what_to_do(
    serve: Serve, workspace: Workspace, tmp_path: Path
) -> None:
    config = tmp_path / "config.json"
    config.write_text(json.dumps(config_of(serve(Api(workspace)))))
    # As on a read-only file system: a directory can't be tried that isn't there, and none of the usual ones is.
    program = (
        "import runpy, sys, tempfile; tempfile._candidate_tempdir_list = lambda: ['/nowhere'];"
        f"sys.argv = ['main.py', 'check', '--config', {str(config)!r}];"
        f"runpy.run_path({str(MAIN)!r}, run_name='__main__')"
    )

    checked = subprocess.run([sys.executable, "-c", program], capture_output=True, check=False)

    assert checked.returncode == 0
    assert b"mount one at /tmp, or name one in the environment variable TMPDIR" in checked.stdout


def test_given_a_dependency_that_is_not_installed_when_started_then_it_fails_and_names_it() -> None:
    program = f"import runpy, sys; sys.modules['orjson'] = None; runpy.run_path({str(MAIN)!r}, run_name='__main__')"

    started = subprocess.run([sys.executable, "-c", program, "spec"], capture_output=True, check=False)

    assert started.returncode == 1
    assert b"orjson" in started.stderr.splitlines()[-1]
    assert started.stdout == b""
