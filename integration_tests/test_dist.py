"""The wheel and the sdist that `make dist` builds: what they hold, and that what they install works.

Each interpreter that DIST_PYTHONS names, this one by default, gets a fresh environment, with the newest packages that
the wheel allows: no constraints. That takes a minute each, so that these tests aren't part of `make test`.
"""

import json
import os
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest
from airbyte_cdk.models import AirbyteStreamStatus, Status, Type

from integration_tests import connector, load
from integration_tests.sandbox import Api, Sandbox, Workspace
from unit_tests.streams import STREAMS, catalog

pytestmark = pytest.mark.dist

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "source_commonroom"
PYTHONS = os.environ.get("DIST_PYTHONS", sys.executable).split()
PYAIRBYTE = ROOT / ".venv-pyairbyte" / "bin"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
READ = """
import json, pathlib, sys
import airbyte as ab
source = ab.get_source(
    "source-commonroom", config=json.loads(sys.argv[1]), pip_url=sys.argv[2], install_root=pathlib.Path(sys.argv[3]),
    streams=["contacts", "activities", "tags"],
)
source.check()
result = source.read(cache=ab.new_local_cache("dist", cache_dir=sys.argv[4]), force_full_refresh=True)
print(json.dumps({name: len(list(dataset)) for name, dataset in result.streams.items()}))
"""


def the_one(pattern: str) -> Path:
    found = list((ROOT / "dist").glob(pattern))
    assert len(found) == 1, f"{pattern}: {found}; run make dist"
    return found[0]


@pytest.fixture(scope="module")
def wheel() -> Path:
    return the_one("*.whl")


@pytest.fixture(scope="module")
def small() -> Workspace:
    """A workspace of few pages for each stream; don't change it."""
    return Workspace.generate(contacts=430, organizations=210, activities=900)


@pytest.fixture(scope="module", params=PYTHONS)
def installed(request: pytest.FixtureRequest, wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install the wheel into a fresh environment; return the folder of its commands."""
    folder = tmp_path_factory.mktemp("environment")
    subprocess.run([request.param, "-m", "venv", str(folder)], check=True)
    commands = folder / "bin"
    pip = [str(commands / "python"), "-m", "pip", "--disable-pip-version-check"]
    subprocess.run([*pip, "install", "--quiet", str(wheel)], check=True, cwd=folder)
    subprocess.run([*pip, "check"], check=True)
    return commands


def files_of_package() -> set[str]:
    return {
        str(path.relative_to(ROOT)) for path in PACKAGE.rglob("*") if path.is_file() and "__pycache__" not in path.parts
    }


def test_the_wheel_holds_the_package_its_license_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        about = f"airbyte_source_commonroom-{PROJECT['version']}.dist-info"
        metadata = archive.read(f"{about}/METADATA").decode()
        commands = archive.read(f"{about}/entry_points.txt").decode()

    assert {name for name in names if not name.startswith(about)} == files_of_package()
    assert f"{about}/licenses/LICENSE" in names
    assert "source-commonroom=source_commonroom.run:run" in commands
    assert f"\nVersion: {PROJECT['version']}\n" in metadata
    required = {line.split(":")[1].split()[0] for line in metadata.splitlines() if line.startswith("Requires-Dist:")}
    assert required == {requirement.split()[0] for requirement in PROJECT["dependencies"]}


def test_the_sdist_holds_what_the_wheel_is_built_of_and_nothing_else() -> None:
    with tarfile.open(the_one("*.tar.gz")) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}

    assert names == files_of_package() | {"LICENSE", "README.md", "pyproject.toml", "PKG-INFO"}


def test_spec_check_discover_and_read_work_from_a_fresh_environment(
    installed: Path, small: Workspace, tmp_path: Path
) -> None:
    program = [str(installed / "source-commonroom")]
    where = subprocess.run(
        [str(installed / "python"), "-c", "import source_commonroom; print(source_commonroom.__file__)"],
        capture_output=True,
        check=True,
        cwd=tmp_path,
        text=True,
    ).stdout
    assert Path(where.strip()).is_relative_to(installed.parent)

    said = connector.run(tmp_path, "spec", program=program).messages
    assert [message.type for message in said if message.type != Type.LOG] == [Type.SPEC]
    with Sandbox(Api(small)) as sandbox:
        config = {"api_token": sandbox.token, "api_url": sandbox.api_url, "requests_per_second": 1000}
        checked = connector.run(tmp_path, "check", config, program=program)
        (status,) = [each.connectionStatus for each in checked.messages if each.connectionStatus]
        assert status.status == Status.SUCCEEDED
        discovered = connector.run(tmp_path, "discover", config, program=program)
        (found,) = [each.catalog for each in discovered.messages if each.catalog]
        assert {stream.name for stream in STREAMS} <= {stream.name for stream in found.streams}
        output = connector.run(tmp_path, "read", config, catalog(), program=program)

    assert output.exit_code == 0
    for stream in STREAMS:
        assert output.status(stream.name) == AirbyteStreamStatus.COMPLETE
    for name in ("contacts", "organizations", "activities", "tags"):
        assert len(output.records(name)) == len(small.records(name)), name


@pytest.mark.skipif(not PYAIRBYTE.exists(), reason="PyAirbyte needs Python 3.11 or 3.12")
@pytest.mark.parametrize("with_uv", [True, False], ids=["with uv", "without uv"])
def test_pyairbyte_installs_and_reads_it_by_its_pip_url(
    with_uv: bool,  # noqa: FBT001  # of the parameters
    wheel: Path,
    small: Workspace,
    tmp_path: Path,
) -> None:
    folders = dict.fromkeys(load.FOLDERS, str(tmp_path))
    environment = {**os.environ, **load.OFFLINE, **folders}
    environment |= {"PATH": f"{PYAIRBYTE}:{os.environ['PATH']}"} if with_uv else {"AIRBYTE_NO_UV": "1"}
    with Sandbox(Api(small)) as sandbox:
        config = json.dumps({"api_token": sandbox.token, "api_url": sandbox.api_url, "requests_per_second": 1000})
        words = [str(PYAIRBYTE / "python"), "-c", READ, config, str(wheel), str(tmp_path / "env"), str(tmp_path / "db")]
        process = subprocess.run(words, capture_output=True, check=False, text=True, env=environment, cwd=tmp_path)

    assert process.returncode == 0, process.stderr
    read = json.loads(process.stdout.splitlines()[-1])
    assert read == {name: len(small.records(name)) for name in ("contacts", "activities", "tags")}
