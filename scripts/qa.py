"""Run Airbyte's own checks of a connector over the connector as ``airbyte_repo.py`` lays it out, and print a table.

It runs in an environment of its own, ``.venv-qa``. Once as it is, and once as a copy that is certified: Airbyte asks
more of such a connector, and a community connector may meet it as well. The checks, and the parts of one, that ask
Docker Hub, GitHub, or the linked pages don't run unless ``--network`` is given; the table names them.
"""

import argparse
import contextlib
import io
import os
import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from scripts.airbyte_repo import CONNECTOR, export  # noqa: E402  # found by the line above

NOT_RUN = "Not run"
# By class, or by function of `metadata_validator`: what each asks.
NEEDS_NETWORK = {
    "CheckVersionIncrement": "the released version on GitHub",
    "CheckDocumentationLinks": "each linked page",
}
VALIDATORS_THAT_NEED_NETWORK = {
    "validate_metadata_base_images_in_dockerhub": "whether Docker Hub has the base image",
    "validate_docker_image_tag_is_not_decremented": "the released version on Docker Hub",
}


@dataclass(frozen=True)
class Row:
    """A line of the table."""

    category: str
    check: str
    status: str
    message: str


def main() -> int:
    """Return 0 if no check fails."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--network", action="store_true", help="run the checks that need the network as well")
    parser.add_argument("--out", type=Path, help="a file for both tables, in Markdown")
    options = parser.parse_args()
    text, failed = "", 0
    for level in ("community", "certified"):
        with tempfile.TemporaryDirectory() as folder:
            repository = Path(folder) / "airbyte"
            export(repository)
            if level == "certified":
                certify(repository / CONNECTOR / "metadata.yaml")
            rows = checked(repository, network=options.network)
        text += table(level, rows)
        failed += sum(row.status.endswith("Failed") for row in rows)
    if options.out:
        options.out.write_text(text, encoding="utf-8")
    print(text, end="")
    return 1 if failed else 0


def certify(path: Path) -> None:
    """Raise the support level of a connector, for more checks to apply."""
    text = path.read_text(encoding="utf-8")
    text = re.sub(r"^  supportLevel: .*$", "  supportLevel: certified", text, flags=re.MULTILINE)
    path.write_text(re.sub(r"^    ([qs]l): .*$", r"    \1: 300", text, flags=re.MULTILINE), encoding="utf-8")
    data = yaml.safe_load(path.read_text(encoding="utf-8"))["data"]
    if (data["supportLevel"], data["ab_internal"]) != ("certified", {"ql": 300, "sl": 300}):
        raise ValueError("metadata.yaml has no support level where it is looked for")


def checked(repository: Path, *, network: bool) -> list[Row]:
    """Run all checks on the connector of a repository.

    The tool takes the working directory for the root of Airbyte's repository, and asks git where it begins.
    """
    subprocess.run(["git", "init", "--quiet", str(repository)], check=True)  # noqa: S603, S607
    os.chdir(repository)
    from airbyte_ops_mcp.connector_ops.utils import Connector  # noqa: PLC0415  # it looks for the repository as it starts
    from airbyte_ops_mcp.connector_qa.checks import ENABLED_CHECKS  # noqa: PLC0415

    # Not asked of Airbyte's registry: a released connector is spared some checks.
    unreleased = type("Unreleased", (Connector,), {"is_released": False})
    connector = (Connector if network else unreleased)(CONNECTOR.name)
    rows = []
    for check in ENABLED_CHECKS:
        asked = NEEDS_NETWORK.get(type(check).__name__)
        if asked and not network:
            rows.append(Row(check.category.value, check.name, NOT_RUN, f"It needs the network: {asked}"))
            continue
        rows.append(run(check, connector, network=network))
    os.chdir(ROOT)
    if not network:
        rows += [
            Row("📝 Metadata", f"Part of the check of metadata.yaml: {name}", NOT_RUN, f"It needs the network: {asked}")
            for name, asked in VALIDATORS_THAT_NEED_NETWORK.items()
        ]
    return rows


def run(check: Any, connector: Any, *, network: bool) -> Row:
    """Run one check, without what it prints."""
    with contextlib.redirect_stdout(io.StringIO()):
        if type(check).__name__ == "ValidateMetadata" and not network:
            status, message = validated(connector)
        else:
            result = check.run(connector)
            status, message = result.status.value, result.message
    return Row(check.category.value, check.name, status, message)


def validated(connector: Any) -> tuple[str, str]:
    """Validate metadata.yaml as its check does, but for what needs the network."""
    from airbyte_ops_mcp import metadata_validator as theirs  # noqa: PLC0415

    local = [each for each in theirs.PRE_UPLOAD_VALIDATORS if each.__name__ not in VALIDATORS_THAT_NEED_NETWORK]
    options = theirs.ValidatorOptions(docs_path=str(connector.documentation_file_path))
    valid, error = theirs.validate_and_load(connector.metadata_file_path, local, options)
    return ("✅ Passed", "Metadata file valid") if valid else ("❌ Failed", f"Metadata file is invalid: {error}")


def table(level: str, rows: list[Row]) -> str:
    """Return the table of a run, with a heading and the sums."""
    counts = {status: sum(row.status == status for row in rows) for status in sorted({row.status for row in rows})}
    lines = [f"## As a {level} connector", "", ", ".join(f"{status}: {count}" for status, count in counts.items()), ""]
    lines += ["| Category | Check | Result | What it says |", "| :--- | :--- | :--- | :--- |"]
    for row in rows:
        said = " ".join(row.message.replace("|", "\\|").split())
        lines.append(f"| {row.category} | {row.check} | {row.status} | {said} |")
    return "\n".join([*lines, "", ""])


if __name__ == "__main__":
    sys.exit(main())
