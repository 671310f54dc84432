"""The streams as the Python connector reads them from manifest.yaml."""

import re

import pytest

from source_commonroom.table import load_manifest, rows


@pytest.mark.parametrize("word", ["count", "page_kind", "primary_key", "cursor_field"])
def test_given_a_parameter_that_is_not_known_when_read_then_it_is_refused_by_name(
    word: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    parameters = load_manifest()["streams"][0]["$parameters"]
    monkeypatch.setitem(parameters, word, "anything")

    with pytest.raises(ValueError, match=re.escape(f"of {parameters['name']}, table.py doesn't know {word}. ")):
        rows.__wrapped__()
