"""Run `airbyte-cdk connector test` on the project, with a sandbox that its configurations reach, and what needs one.

It takes the connector's name from its folder, and leaves files behind: the project is copied into a folder of that
name, and the sandbox's address into its configurations. Options go to pytest. What needs a container engine is left
out (pyproject.toml).
"""

import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from integration_tests.sandbox import Sandbox  # noqa: E402  # found by the line above

UNUSED = shutil.ignore_patterns(".*", "build", "output", "secrets", "*.egg-info", "__pycache__")


def main() -> int:
    """Return the exit code of the test run."""
    with tempfile.TemporaryDirectory() as folder, Sandbox() as sandbox:
        project = Path(folder) / "source-commonroom"
        shutil.copytree(ROOT, project, ignore=UNUSED)
        shutil.copy(project / "integration_tests/standard_tests.yml", project / "acceptance-test-config.yml")
        for path in (project / "integration_tests").glob("*_config.json"):
            config = json.loads(path.read_text())
            path.write_text(json.dumps({**config, "api_url": sandbox.api_url}))
        command = [str(Path(sys.executable).parent / "airbyte-cdk"), "connector", "test", str(project)]
        options = [f"--pytest-arg={option}" for option in sys.argv[1:]]
        return subprocess.run([*command, *options], cwd=project, check=False).returncode  # noqa: S603


if __name__ == "__main__":
    sys.exit(main())
