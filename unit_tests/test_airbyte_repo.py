"""The connector as Airbyte's repository has it: what is there, and that its tests stand on their own."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

from scripts.airbyte_repo import CONNECTOR, DOCS, ROOT, export
from unit_tests.parity import assert_same


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("repository") / "airbyte"
    export(folder)
    return folder


def test_its_folder_has_what_belongs_there_and_nothing_else(repository: Path) -> None:
    there = {path.name for path in (repository / CONNECTOR).iterdir()}
    expected = {"LICENSE", "README.md", "acceptance-test-config.yml", "icon.svg", "integration_tests", "main.py"}
    expected |= {"metadata.yaml", "poetry.lock", "pyproject.toml", "source_commonroom", "unit_tests"}
    assert_same("the export", there, "this test", expected)

    files = [path for path in repository.rglob("*") if path.is_file()]
    assert [path for path in files if path.suffix == ".pyc" or path.name in {"Dockerfile", "Makefile"}] == []
    outside = {path.relative_to(repository).parts[0] for path in files}
    assert outside == {"airbyte-integrations", "docs"}


def test_the_package_is_that_of_here(repository: Path) -> None:
    def package(root: Path) -> dict[str, bytes]:
        paths = (path for path in (root / "source_commonroom").rglob("*") if path.is_file() and path.suffix != ".pyc")
        return {str(path.relative_to(root)): path.read_bytes() for path in paths}

    assert package(repository / CONNECTOR) == package(ROOT)


def test_its_pyproject_says_to_poetry_what_it_says_to_others_and_leaves_the_lock_valid(repository: Path) -> None:
    here = tomllib.loads((ROOT / "pyproject.toml").read_text())
    there = tomllib.loads((repository / CONNECTOR / "pyproject.toml").read_text())
    metadata = yaml.safe_load((repository / CONNECTOR / "metadata.yaml").read_text())["data"]

    fields = {name: there["tool"]["poetry"].pop(name) for name in ("name", "version", "license")}
    assert fields == {name: here["project"][name] for name in fields}
    assert (fields["version"], fields["license"]) == (metadata["dockerImageTag"], metadata["license"])
    assert there["tool"].pop("poe")["include"]
    # The lock was made of this, and of nothing else.
    assert there == here


def test_its_pages_link_to_each_other_by_addresses_that_lead_somewhere_in_airbyte_too(repository: Path) -> None:
    page = (repository / DOCS / "commonroom.md").read_text()
    reference = (repository / DOCS / "commonroom/commonroom-reference.md").read_text()

    targets = re.findall(r"\]\(([^)]+)\)", page)
    assert [target for target in targets if not target.startswith(("https://", "#"))] == []
    own = [target for target in targets if "/sources/commonroom/commonroom-reference" in target]
    assert len(own) > 10
    for picture in re.findall(r"\]\((assets/[^)]+)\)", reference):
        assert (repository / DOCS / "commonroom" / picture).exists()


def test_its_files_import_no_package_that_stays_here_nor_do_the_programs_in_them(repository: Path) -> None:
    """What is collected below doesn't tell: an editable install has these packages on its path."""
    folders = {path.parent.name for path in ROOT.glob("*/__init__.py")}
    stay = folders - {path.parent.name for path in (repository / CONNECTOR).glob("*/__init__.py")}
    imports = re.compile(rf"^\s*(?:from|import) (?:{'|'.join(sorted(stay))})\b", re.MULTILINE)
    files = (repository / CONNECTOR).rglob("*.py")

    assert {"scripts", "benchmarks"} <= stay
    assert [path.name for path in files if imports.search(path.read_text(encoding="utf-8"))] == []


def test_its_tests_import_nothing_that_is_not_there(repository: Path) -> None:
    command = [sys.executable, "-m", "pytest", "--collect-only", "--quiet", "-p", "no:cacheprovider"]
    result = subprocess.run(command, cwd=repository / CONNECTOR, capture_output=True, text=True, check=False)

    assert result.returncode == 0, result.stdout
    assert "error" not in result.stdout.lower().splitlines()[-1]
