"""Lay the connector out as in Airbyte's repository: its folder with what belongs there, and the pages of its docs.

What differs there from here:

- The version and the license stand in ``[tool.poetry]`` as well, where Airbyte's checks look for them, and
  ``[tool.poe]`` names the tasks of its CI. The lock stays valid: it depends on neither.
- No Dockerfile: ``airbyte-cdk image build`` brings one.
- Tests of what stays here, such as the probe and the docs, stay here, too.
"""

import argparse
import shutil
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CONNECTOR = Path("airbyte-integrations/connectors/source-commonroom")
DOCS = Path("docs/integrations/sources")
REFERENCE = "https://docs.airbyte.com/integrations/sources/commonroom/commonroom-reference"
FILES = ("LICENSE", "acceptance-test-config.yml", "icon.svg", "main.py", "metadata.yaml", "poetry.lock")
FOLDERS = ("source_commonroom", "unit_tests", "integration_tests")
# By the name of a file or folder, wherever it stands.
LEFT_OUT = (
    "__pycache__",
    # Of scripts/, benchmarks/ and the docs, which aren't there.
    "test_probe*.py",
    "test_cassettes.py",
    "cassettes",
    "replay.py",
    "test_docs.py",
    "test_picture.py",
    "test_airbyte_repo.py",
    "test_stock_manifest.py",
    # They need environments of their own.
    "pipeline",
    "test_pyairbyte.py",
    "test_dist.py",
)
POE = """
[tool.poe]
include = ["${POE_GIT_DIR}/poe-tasks/poetry-connector-tasks.toml"]
"""


def main() -> None:
    """Write the folder that the command names."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path, help="the folder to write, which must be empty or not there")
    out: Path = parser.parse_args().out
    if out.exists() and any(out.iterdir()):
        sys.exit(f"{out} isn't empty. Name a folder that isn't there yet, or empty it.")
    export(out)
    print(f"==> Wrote {out}: {sum(path.is_file() for path in out.rglob('*'))} files")


def export(out: Path) -> None:
    """Write the connector and its docs into a folder, as in Airbyte's repository."""
    connector = out / CONNECTOR
    ignored = shutil.ignore_patterns(*LEFT_OUT)
    for name in FOLDERS:
        shutil.copytree(ROOT / name, connector / name, ignore=ignored)
    for name in FILES:
        shutil.copy(ROOT / name, connector)
    shutil.copy(ROOT / "scripts/airbyte/README.md", connector)
    (connector / "pyproject.toml").write_text(pyproject(), encoding="utf-8")
    shutil.copytree(ROOT / DOCS, out / DOCS)
    page = out / DOCS / "commonroom.md"
    # Airbyte shows it beside the form for a source, too, where only whole addresses lead anywhere.
    text = page.read_text(encoding="utf-8").replace("](commonroom/commonroom-reference.md", f"]({REFERENCE}")
    page.write_text(text, encoding="utf-8")


def pyproject() -> str:
    """Return pyproject.toml with what Airbyte's checks and its CI look for.

    :raises ValueError: if there is no ``[tool.poetry]`` to add it to
    """
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    project = tomllib.loads(text)["project"]
    head, table, tail = text.partition("[tool.poetry]\n")
    if not table:
        raise ValueError("pyproject.toml has no [tool.poetry]")
    fields = "".join(f'{name} = "{project[name]}"\n' for name in ("name", "version", "license"))
    return f"{head}{table}{fields}{tail}{POE}"


if __name__ == "__main__":
    main()
