"""Run `airbyte-cdk connector test` on the project, with a sandbox at the address that its configurations name.

It takes the connector's name from its folder, and leaves files behind: the project is copied into a folder of that
name. Options go to pytest. What needs a container engine is left out (pyproject.toml).
"""

import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from urllib.parse import urlsplit

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from integration_tests.sandbox import Sandbox  # noqa: E402  # found by the line above

UNUSED = shutil.ignore_patterns(".*", "build", "output", "secrets", "*.egg-info", "__pycache__")


def main() -> int:
    """Return the exit code of the test run."""
    config = json.loads((ROOT / "integration_tests" / "sample_config.json").read_text())
    address = urlsplit(config["api_url"])
    with tempfile.TemporaryDirectory() as folder, Sandbox(host=str(address.hostname), port=address.port or 80):
        project = Path(folder) / "source-commonroom"
        shutil.copytree(ROOT, project, ignore=UNUSED)
        command = [str(Path(sys.executable).parent / "airbyte-cdk"), "connector", "test", str(project)]
        options = [f"--pytest-arg={option}" for option in sys.argv[1:]]
        return subprocess.run([*command, *options], cwd=project, check=False).returncode  # noqa: S603


if __name__ == "__main__":
    sys.exit(main())
