"""Common Room as assets of Dagster: the connector's streams, loaded into a warehouse, and the models that dbt builds.

The environment says where everything is:

* `COMMONROOM_CONFIG`: the connector's configuration, `secrets/config.json` by default;
* `COMMONROOM_CONNECTOR`: its executable, `.venv/bin/source-commonroom`;
* `COMMONROOM_WAREHOUSE`: `postgresql://user@host:port/database`, or a DuckDB file, `output/dagster.duckdb`;
* `COMMONROOM_HISTORY`: the month in which the activities begin, as `2024-01`;
* `COMMONROOM_SIDE_BY_SIDE`: how many reads share the token, 3; the same number is the limit of the pool;
* `COMMONROOM_EXECUTOR`: a file such as `kubernetes.yaml` if steps are to run as pods.
"""

import os
import sys
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import yaml
from dagster_dbt import DbtCliResource, DbtProject, dbt_assets

from examples.dagster.connector import Connector, Warehouse
from scripts.models import where
from scripts.warehouses.tables import Span

ROOT = Path(__file__).resolve().parents[2]
POOL = "commonroom_token"
ACTIVITIES = dg.AssetKey(["commonroom", "activities"])
GROUP = "commonroom"
# Activities may arrive late: for so many days, the last month is loaded again.
LATE = timedelta(days=3)

warehouse = os.environ.get("COMMONROOM_WAREHOUSE", str(ROOT / "output" / "dagster.duckdb"))
target, environment = where(warehouse if "://" in warehouse else "duckdb", Path(warehouse))
# Dagster starts `dbt`, which is beside its own interpreter, whether or not that is on the path.
os.environ.update(environment, PATH=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}")
models = DbtProject(
    project_dir=ROOT / "dbt",
    profiles_dir=ROOT / "dbt",
    target=target,
    target_path=Path(os.environ.get("DBT_TARGET_PATH", "target")),
)
models.prepare_if_dev()

months = dg.MonthlyPartitionsDefinition(
    start_date=os.environ.get("COMMONROOM_HISTORY", "2024-01"), fmt="%Y-%m", end_offset=1
)
# Another attempt after half a minute, and one after a minute; also if the process was killed. What the API refuses for
# a while, the connector tries again by itself, for ten minutes.
again = dg.RetryPolicy(
    max_retries=2, delay=float(os.environ.get("COMMONROOM_RETRY_DELAY", "30")), backoff=dg.Backoff.EXPONENTIAL
)
STALE = timedelta(hours=36)
fresh = dg.FreshnessPolicy.time_window(fail_window=STALE, warn_window=timedelta(hours=26))


def streams() -> list[str]:
    """List the streams that dbt reads, without activities."""
    manifest = yaml.safe_load((ROOT / "dbt" / "models" / "staging" / "_sources.yml").read_text())
    (source,) = manifest["sources"]
    return sorted(table["name"] for table in source["tables"] if table["name"] != ACTIVITIES.path[-1])


def rows(count: int) -> Mapping[str, Any]:
    """Return the metadata that Dagster plots."""
    return {"dagster/row_count": count}


@dg.asset(
    key=ACTIVITIES,
    partitions_def=months,
    pool=POOL,
    retry_policy=again,
    freshness_policy=fresh,
    group_name=GROUP,
    kinds={"airbyte"},
)
def activities(
    context: dg.AssetExecutionContext, connector: Connector, warehouse: Warehouse
) -> dg.MaterializeResult[Any]:
    """What contacts did in a month."""
    start, end = context.partition_time_window
    # The connector's end is inclusive, and the API has milliseconds.
    last = end - timedelta(milliseconds=1)
    counts = connector.load(
        warehouse,
        [ACTIVITIES.path[-1]],
        context.log.info,
        Span("activitytime", iso(start), iso(end)),
        start_date=iso(start),
        end_date=iso(last),
    )
    return dg.MaterializeResult(metadata=rows(counts[ACTIVITIES.path[-1]]))


@dg.multi_asset(
    specs=[
        dg.AssetSpec([GROUP, stream], group_name=GROUP, freshness_policy=fresh, skippable=True, kinds={"airbyte"})
        for stream in streams()
    ],
    pool=POOL,
    retry_policy=again,
    can_subset=True,
)
def lists(
    context: dg.AssetExecutionContext, connector: Connector, warehouse: Warehouse
) -> Iterator[dg.MaterializeResult[Any]]:
    """What the API lists in full: contacts, organizations, and all the others."""
    selected = sorted(key.path[-1] for key in context.selected_asset_keys)
    for stream, count in connector.load(warehouse, selected, context.log.info).items():
        yield dg.MaterializeResult(asset_key=[GROUP, stream], metadata=rows(count))


def loaded_lately(key: dg.AssetKey) -> dg.AssetChecksDefinition:
    """Make a check that asks the warehouse when a table was loaded."""

    @dg.asset_check(asset=key, name="loaded_lately")
    def check(warehouse: Warehouse) -> dg.AssetCheckResult:
        newest = warehouse.open().newest(key.path[-1])
        told = {"newest": dg.MetadataValue.text(str(newest))}
        return dg.AssetCheckResult(passed=newest is not None and datetime.now(UTC) - newest < STALE, metadata=told)

    return check


@dbt_assets(manifest=models.manifest_path, project=models)
def dbt_models(context: dg.AssetExecutionContext, dbt: DbtCliResource) -> Iterator[Any]:
    """Build and test the models; dbt's tests are checks of the assets."""
    yield from dbt.cli(["build"], context=context).stream().fetch_row_counts()


def iso(time: datetime) -> str:
    """Write a time as the connector's configuration has it."""
    return time.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


backfill = dg.define_asset_job("backfill", selection=dg.AssetSelection.assets(ACTIVITIES), partitions_def=months)
everything = dg.define_asset_job("everything", selection=dg.AssetSelection.all(), partitions_def=months)


@dg.schedule(job=everything, cron_schedule="0 3 * * *")
def nightly(context: dg.ScheduleEvaluationContext) -> Iterator[dg.RunRequest]:
    """Load everything, with the activities of this month, and build the models."""
    now = context.scheduled_execution_time
    yield dg.RunRequest(partition_key=f"{now:%Y-%m}")


@dg.schedule(job=backfill, cron_schedule="0 2 1-3 * *")
def late_arrivals(context: dg.ScheduleEvaluationContext) -> Iterator[dg.RunRequest]:
    """Load the activities of the last month once more, as long as some may arrive late."""
    yield dg.RunRequest(partition_key=f"{context.scheduled_execution_time - LATE:%Y-%m}")


def executor() -> dg.ExecutorDefinition:
    """Return what runs the steps: processes of this machine, or pods."""
    file = os.environ.get("COMMONROOM_EXECUTOR")
    if not file:
        return dg.multiprocess_executor
    from dagster_k8s import k8s_job_executor  # noqa: PLC0415  # needed on Kubernetes alone

    return k8s_job_executor.configured(yaml.safe_load(Path(file).read_text()))


definitions = dg.Definitions(
    assets=[activities, lists, dbt_models],
    asset_checks=[loaded_lately(ACTIVITIES), loaded_lately(dg.AssetKey([GROUP, "contacts"]))],
    jobs=[backfill, everything],
    schedules=[nightly, late_arrivals],
    executor=executor(),
    resources={
        "connector": Connector(
            executable=os.environ.get("COMMONROOM_CONNECTOR", str(ROOT / ".venv" / "bin" / "source-commonroom")),
            config=os.environ.get("COMMONROOM_CONFIG", str(ROOT / "secrets" / "config.json")),
            side_by_side=int(os.environ.get("COMMONROOM_SIDE_BY_SIDE", "3")),
        ),
        "warehouse": Warehouse(address=warehouse),
        "dbt": DbtCliResource(project_dir=models),
    },
)
