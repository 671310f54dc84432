"""What several tests of the pipeline share."""

from collections.abc import Iterator

import pytest

from integration_tests.pipeline.play import Play, played


@pytest.fixture(scope="session")
def play(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Play]:
    """Two syncs and the builds after each; don't change their files. Tests that use it are of the group `models`."""
    with played(tmp_path_factory.mktemp("models")) as found:
        yield found
