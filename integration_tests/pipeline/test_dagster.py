"""The example of Dagster, run by Dagster itself: its daemon, its queue, its pool, its processes."""

import ast
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from integration_tests.conftest import Serve
from integration_tests.fork_server import Interpreter
from integration_tests.pipeline.databases import held_in
from integration_tests.pyairbyte import ROOT, run_program, sync_words
from integration_tests.sandbox import Api, Workspace

pytestmark = pytest.mark.pipeline

BIN = ROOT / ".venv-pipeline" / "bin"
EXAMPLE = ROOT / "examples" / "dagster"
MODULE = ("--module-name", "examples.dagster.definitions", "--working-directory", str(ROOT))
MONTHS = ("2026-01", "2026-02", "2026-03", "2026-04")
KILLED = MONTHS[1]
LONGEST = 600

# A connector whose months wait for each other, until three are read at once. In the middle of one of them it kills who
# started it, once, as a machine does that runs out of memory.
MEDDLING = """#!{python} -IS
import json, os, signal, subprocess, sys, time
from pathlib import Path
words, folder = sys.argv[1:], Path({folder!r})
config = json.loads(Path(words[words.index("--config") + 1]).read_text()) if "--config" in words else {{}}
month = config.get("start_date", "")[:7]
if words[0] == "read" and month:
    (folder / f"reading-{{month}}").touch()
    end = time.monotonic() + 300
    while len(list(folder.glob("reading-*"))) < 3 and time.monotonic() < end:
        time.sleep(0.1)
if words[0] == "read" and month == {month!r} and not (folder / "killed").exists():
    with subprocess.Popen([{connector!r}, *words], stdout=subprocess.PIPE) as process:
        for line in process.stdout:
            sys.stdout.buffer.write(line)
            if b'"RECORD"' in line:
                break
        sys.stdout.flush()
        (folder / "killed").touch()
        os.kill(os.getppid(), signal.SIGKILL)
        process.kill()
    sys.exit(1)
os.execv({connector!r}, [{connector!r}, *words])
"""

# What Dagster has noted of all runs, once so many have ended: the partition of each, how it ended, its steps, and what
# was materialized and checked.
NOTED = """
import json, sys, time
from dagster import DagsterEventType, DagsterInstance
wanted, patience = map(int, sys.argv[1:])
end = time.monotonic() + patience
with DagsterInstance.get() as instance:
    while sum(run.is_finished for run in instance.get_runs()) < wanted and time.monotonic() < end:
        time.sleep(0.5)
    noted = []
    for run in instance.get_runs():
        events = [entry.dagster_event for entry in instance.all_logs(run.run_id) if entry.dagster_event]
        steps = instance.get_run_step_stats(run.run_id)
        noted.append({
            "partition": run.tags.get("dagster/partition"), "status": run.status.value,
            "steps": {step.step_key: [step.attempts, step.start_time, step.end_time] for step in steps},
            "rows": {
                event.asset_key.to_user_string(): value.value
                for event in events if event.event_type == DagsterEventType.ASSET_MATERIALIZATION
                for name, value in event.step_materialization_data.materialization.metadata.items()
                if name == "dagster/row_count"
            },
            "checks": {
                f"{event.event_specific_data.asset_key.to_user_string()}:{event.event_specific_data.check_name}":
                event.event_specific_data.passed
                for event in events if event.event_type == DagsterEventType.ASSET_CHECK_EVALUATION
            },
        })
print(json.dumps(noted))
"""


class Dagster:
    """An instance of Dagster with the example's configuration, and commands of it."""

    def __init__(self, folder: Path, config: Path, connector: Path, warehouse: str) -> None:
        self.folder = folder
        home = folder / "home"
        home.mkdir()
        (home / "dagster.yaml").write_text((EXAMPLE / "instance" / "dagster.yaml").read_text())
        self.environment = {
            **os.environ,
            "DAGSTER_HOME": str(home),
            "TMPDIR": str(folder),
            "DBT_TARGET_PATH": str(folder / "dbt"),
            "DBT_LOG_PATH": str(folder / "dbt"),
            "COMMONROOM_CONFIG": str(config),
            "COMMONROOM_CONNECTOR": str(connector),
            "COMMONROOM_WAREHOUSE": warehouse,
            "COMMONROOM_HISTORY": MONTHS[0],
            "COMMONROOM_RETRY_DELAY": "1",
            "PYTHONWARNINGS": "ignore",
        }

    def run(self, *words: str) -> str:
        """Run a program of the environment to its end, and return what it prints."""
        ended = subprocess.run(
            [BIN / words[0], *words[1:]], cwd=ROOT, env=self.environment, capture_output=True, text=True, check=False
        )
        assert ended.returncode == 0, ended.stdout + ended.stderr
        return ended.stdout

    def prepare(self) -> None:
        """Make the instance's databases, and dbt's manifest, as `dagster dev` does by itself.

        A daemon and a backfill that are started side by side would both make the databases, and one of them would fail.
        """
        environment = {**self.environment, "DAGSTER_IS_DEV_CLI": "1"}
        make = "from dagster import DagsterInstance; DagsterInstance.get(); import examples.dagster.definitions"
        words: list[str | Path] = [BIN / "python", "-c", make]
        subprocess.run(words, cwd=ROOT, env=environment, check=True)

    @contextmanager
    def daemon(self) -> Iterator[None]:
        """Run the daemon, which takes runs from the queue."""
        with (self.folder / "daemon").open("wb") as log:
            process = subprocess.Popen(
                [BIN / "dagster-daemon", "run", *MODULE], cwd=ROOT, env=self.environment, stdout=log, stderr=log
            )
            try:
                yield
            finally:
                process.terminate()
                process.wait(LONGEST)

    def noted(self, runs: int) -> list[dict[str, Any]]:
        """Wait for the end of so many runs, and return what `NOTED` tells of them."""
        found: list[dict[str, Any]] = json.loads(self.run("python", "-c", NOTED, str(runs), str(LONGEST)))
        assert len(found) == runs, found
        return found


def in_order(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Sort rows, whatever their key is."""
    return sorted(rows, key=json.dumps)


def most_at_once(steps: list[tuple[float, float]]) -> int:
    """Return how many of these spans of time overlap at most."""
    return max(sum(start <= time < end for start, end in steps) for time, _ in steps)


def test_given_a_month_that_is_killed_when_backfilled_side_by_side_then_it_equals_one_sync_and_dbt_builds_it(
    tmp_path: Path, serve: Serve, connector: Path, pyairbyte: Interpreter
) -> None:
    workspace = Workspace.generate(contacts=120, organizations=60, activities=3000)
    sandbox = serve(Api(workspace))
    config, warehouse = tmp_path / "config.json", tmp_path / "warehouse.duckdb"
    config.write_text(json.dumps({"api_token": sandbox.token, "api_url": sandbox.api_url, "requests_per_second": 300}))
    meddling = tmp_path / "source-commonroom"
    options = {"python": sys.executable, "folder": str(tmp_path), "month": KILLED}
    meddling.write_text(MEDDLING.format(connector=str(connector), **options))
    meddling.chmod(0o755)
    dagster = Dagster(tmp_path, config, meddling, str(warehouse))
    dagster.prepare()

    with dagster.daemon():
        dagster.run(
            "dagster", "job", "backfill", "--job", "backfill", "--partitions", ",".join(MONTHS), "--noprompt", *MODULE
        )
        runs = dagster.noted(len(MONTHS))

    assert (tmp_path / "killed").exists(), (tmp_path / "daemon").read_text()[-20_000:]
    assert {run["partition"]: run["status"] for run in runs} == dict.fromkeys(MONTHS, "SUCCESS")
    steps = {run["partition"]: run["steps"]["commonroom__activities"] for run in runs}
    assert {month: attempts for month, (attempts, *_) in steps.items()} == {
        month: 2 if month == KILLED else 1 for month in MONTHS
    }
    # The pool has three places, and all were taken.
    assert most_at_once([(start, end) for _, start, end in steps.values()]) == 3
    months = {month: held_in_month(workspace, month) for month in MONTHS}
    assert {run["partition"]: run["rows"]["commonroom/activities"] for run in runs} == months
    assert min(months.values()) > 0

    one = tmp_path / "one"
    span = {"start_date": f"{MONTHS[0]}-01T00:00:00Z", "end_date": f"{MONTHS[-1]}-30T23:59:59.999Z"}
    (tmp_path / "one.json").write_text(json.dumps({**json.loads(config.read_text()), **span}))
    ended = run_program(sync_words(one, "--config", tmp_path / "one.json", connector=connector), pyairbyte)
    assert ended.returncode == 0, ended.stderr.decode()
    loaded, wanted = held_in(str(warehouse), pyairbyte), held_in(str(one / "workspace.duckdb"), pyairbyte)
    assert in_order(loaded["activities"]["rows"]) == in_order(wanted["activities"]["rows"])
    assert loaded["activities"]["types"] == wanted["activities"]["types"]

    # The last month once more, and everything else.
    dagster.run("dagster", "asset", "materialize", "--select", "*", "--partition", MONTHS[-1], *MODULE)

    (run,) = [run for run in dagster.noted(len(MONTHS) + 1) if "dbt_models" in run["steps"]]
    assert run["status"] == "SUCCESS"
    tables = held_in(str(warehouse), pyairbyte)
    for table in set(tables) & set(wanted):
        assert in_order(tables[table]["rows"]) == in_order(wanted[table]["rows"]), table
        if table != "activities":
            assert run["rows"][f"commonroom/{table}"] == len(wanted[table]["rows"])
    assert run["rows"]["commonroom/activities"] == months[MONTHS[-1]]
    assert run["rows"]["fct_activities"] == sum(months.values())
    assert run["checks"]["commonroom/activities:loaded_lately"]
    assert run["checks"]["commonroom/contacts:loaded_lately"]
    assert len(run["checks"]) > 20


def held_in_month(workspace: Workspace, month: str) -> int:
    """Count the activities of a month."""
    return sum(activity["activityTime"].startswith(month) for activity in workspace.records("activities"))


IN_PYTHON = """
import os
from datetime import datetime, timedelta, timezone
import dagster as dg, duckdb
from examples.dagster import definitions as example
{body}
"""


def run_python(body: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run statements in the environment of Dagster, after the example was imported as `example`."""
    return subprocess.run(
        [BIN / "python", "-W", "ignore", "-c", IN_PYTHON.format(body=body)],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def parsed(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, str]:
    """Parse the models, and return the environment that says where the manifest is."""
    environment = dict.fromkeys(("DBT_TARGET_PATH", "DBT_LOG_PATH"), str(tmp_path_factory.mktemp("dbt")))
    words = ["--quiet", "parse", "--project-dir", "dbt", "--profiles-dir", "dbt"]
    subprocess.run([BIN / "dbt", *words], cwd=ROOT, env={**os.environ, **environment}, check=True)
    return environment


STALENESS = """
path = os.environ["COMMONROOM_WAREHOUSE"]
check = example.loaded_lately(dg.AssetKey(["commonroom", "contacts"]))
def passed(age):
    with duckdb.connect(path) as connection:
        connection.execute("CREATE SCHEMA IF NOT EXISTS commonroom")
        connection.execute("CREATE OR REPLACE TABLE commonroom.contacts (_airbyte_extracted_at TIMESTAMP)")
        if age is not None:
            loaded = datetime.now(timezone.utc).replace(tzinfo=None) - timedelta(hours=age)
            connection.execute("INSERT INTO commonroom.contacts VALUES (?)", (loaded,))
    return check(warehouse=example.Warehouse(address=path)).passed
print([passed(1), passed(35), passed(37), passed(None)])
"""


def test_given_a_table_that_was_loaded_long_ago_when_checked_then_it_is_not_fresh(
    parsed: Mapping[str, str], tmp_path: Path
) -> None:
    ended = run_python(STALENESS, **parsed, COMMONROOM_WAREHOUSE=str(tmp_path / "warehouse.duckdb"))

    assert ended.stdout == "[True, True, False, False]\n", ended.stderr


KUBERNETES = """
for name in ("everything", "backfill"):
    job = example.definitions.resolve_job_def(name)
    dg.validate_run_config(job)
    print(job.executor_def.name)
"""


def test_when_configured_for_kubernetes_then_dagster_takes_its_executor_and_its_options(
    parsed: Mapping[str, str],
) -> None:
    ended = run_python(KUBERNETES, **parsed, COMMONROOM_EXECUTOR=str(EXAMPLE / "kubernetes.yaml"))

    assert ended.stdout == "k8s\nk8s\n", ended.stderr


def test_given_an_option_that_is_none_when_configured_for_kubernetes_then_dagster_refuses_it(
    parsed: Mapping[str, str], tmp_path: Path
) -> None:
    options = yaml.safe_load((EXAMPLE / "kubernetes.yaml").read_text())
    (tmp_path / "kubernetes.yaml").write_text(yaml.safe_dump({**options, "pods": 3}))

    ended = run_python(KUBERNETES, **parsed, COMMONROOM_EXECUTOR=str(tmp_path / "kubernetes.yaml"))

    assert ended.returncode == 1
    assert 'Received unexpected config entry "pods"' in ended.stderr


def snippets() -> list[str]:
    """Return the Python of the example's page."""
    return re.findall(r"```python\n(.*?)```", (EXAMPLE / "README.md").read_text(), flags=re.DOTALL)


def test_given_the_page_when_its_examples_are_parsed_then_each_is_python_and_names_what_dagster_airbyte_has() -> None:
    with_airbyte, with_airflow = snippets()

    assert {node.module for node in ast.walk(ast.parse(with_airflow)) if isinstance(node, ast.ImportFrom)} == {
        "datetime",
        "airflow.providers.airbyte.operators.airbyte",
        "airflow.providers.standard.operators.bash",
        "airflow.sdk",
    }
    # The imports run, and so do the signatures: each argument that is named has to be one.
    ended = subprocess.run(
        [BIN / "python", "-W", "ignore", "-c", ARGUMENTS],
        input=with_airbyte,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.stdout == "{}\n", ended.stderr


ARGUMENTS = """
import ast, inspect, sys
tree = ast.parse(sys.stdin.read())
space = {}
for node in tree.body:
    if isinstance(node, (ast.Import, ast.ImportFrom)):
        exec(compile(ast.Module([node], []), "page", "exec"), space)
wrong = {}
for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call) and node.keywords):
    try:
        called = eval(compile(ast.Expression(call.func), "page", "eval"), space)
    except NameError:
        continue
    fields = getattr(called, "model_fields", None)
    known = set(fields) if fields is not None else set(inspect.signature(called).parameters)
    if unknown := {word.arg for word in call.keywords} - known:
        wrong[called.__name__] = unknown
print(wrong)
"""


def test_when_the_values_of_the_chart_are_read_then_they_name_what_is_there() -> None:
    values = yaml.safe_load((EXAMPLE / "helm.yaml").read_text())

    (deployment,) = values["dagster-user-deployments"]["deployments"]
    _, module, _, folder = deployment["dagsterApiGrpcArgs"]
    assert (ROOT / f"{module.replace('.', '/')}.py").exists()
    (executor,) = (item["value"] for item in deployment["env"] if item["name"] == "COMMONROOM_EXECUTOR")
    assert (ROOT / Path(executor).relative_to(folder)).exists()
