"""Files and catalogs: what is read of them, and the sentence if they can't be."""

import codecs
import signal
import threading
from pathlib import Path

import pytest
import requests_mock
from airbyte_cdk.models import FailureType
from airbyte_cdk.utils.traced_exception import AirbyteTracedException

from integration_tests.sandbox import Api, Workspace, mount
from source_commonroom import run
from source_commonroom.api.http import Access
from source_commonroom.endpoints import Endpoints
from source_commonroom.files import UnreadableFileError, read_json
from source_commonroom.lists.cached import clear_cache, fetch_cached
from source_commonroom.table import rows
from unit_tests.conftest import API_URL, Read
from unit_tests.streams import catalog

CONTENT = '{"note": "Größe"}'


@pytest.mark.parametrize("mark", [b"", codecs.BOM_UTF8])
def test_given_utf8_when_read_then_a_mark_does_not_matter(mark: bytes, tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_bytes(mark + CONTENT.encode())

    assert read_json(str(path)) == {"note": "Größe"}


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (CONTENT.encode("utf-16"), "Its encoding is UTF-16. Save it in UTF-8."),
        (codecs.BOM_UTF16_BE + CONTENT.encode("utf-16-be"), "Its encoding is UTF-16."),
        (CONTENT.encode("utf-32"), "Its encoding is UTF-32."),
        ('{"note": "a"}'.encode("utf-16-le"), "Its encoding seems to be UTF-16."),
        (CONTENT.encode("latin-1"), "Its encoding isn't UTF-8."),
        (b"", "It is empty."),
        (b"\n", "It is empty."),
        (b'{"note": secret-1}', "It isn't JSON (line 1, column 10)."),
        (b"[" * 100_000, "It is nested too deeply."),
    ],
)
def test_given_a_file_that_is_no_json_when_read_then_a_sentence_says_why(
    content: bytes, sentence: str, tmp_path: Path
) -> None:
    path = tmp_path / "config.json"
    path.write_bytes(content)

    with pytest.raises(UnreadableFileError) as unreadable:
        read_json(str(path))

    assert sentence in str(unreadable.value)
    assert "secret" not in str(unreadable.value)


def test_given_a_file_that_is_not_there_when_read_then_a_sentence_says_so(tmp_path: Path) -> None:
    with pytest.raises(UnreadableFileError, match="No such file"):
        read_json(str(tmp_path / "config.json"))


def test_given_a_catalog_that_names_a_stream_twice_when_read_then_it_is_refused_before_a_request(
    api: Api, read: Read
) -> None:
    configured = catalog("tags", "contacts")
    configured.streams += catalog("tags").streams

    with pytest.raises(AirbyteTracedException) as refused:
        read(api, configured=configured)

    assert refused.value.failure_type == FailureType.config_error
    assert "more than once: tags." in str(refused.value.message)
    assert api.log.requests == []


def test_given_a_system_without_signal_masks_when_read_then_nothing_is_missed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Windows has neither."""
    for name in ("pthread_sigmask", "sigwait", "SIG_BLOCK", "SIG_UNBLOCK"):
        monkeypatch.delattr(signal, name)
    config, configured = tmp_path / "config.json", tmp_path / "catalog.json"
    config.write_text('{"api_token": "a-token"}')
    configured.write_text('{"streams": []}')
    words = ["main.py", "read", "--config", str(config), "--catalog", str(configured)]
    monkeypatch.setattr("sys.argv", words)

    run.run()

    assert "sigterm" not in {thread.name for thread in threading.enumerate()}


def test_given_two_workspaces_in_one_process_when_read_then_each_has_its_own_segments() -> None:
    def workspace(number: int) -> Workspace:
        segment = {"id": f"s_{number}", "name": f"Segment {number}", "entityType": "contact"}
        return Workspace.of(
            segments=[segment],
            contacts=[{"id": f"c_{number}", "name": "Contact", "segments": [segment]}],
            object_types=[],
        )

    apis = [Api(workspace(number), token=f"token-{number}") for number in (1, 2)]
    configs = [{"api_token": f"token-{number}", "api_url": API_URL} for number in (1, 2)]
    clear_cache()
    found = []
    for api, config in zip(apis, configs, strict=True):
        with requests_mock.Mocker() as mocker:
            mount(mocker, api, API_URL)
            segments = Endpoints(config, Access.of(config)).retriever(rows()["segments"])
            # Both are under way: neither begins a command, which would forget what was asked for.
            found.append([row["id"] for row in fetch_cached(segments)])

    assert found == [["s_1"], ["s_2"]]
