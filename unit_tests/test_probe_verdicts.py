"""The probe's verdicts: what fails, changes or is too little to tell leaves a row open; it neither breaks nor holds."""

import re
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from integration_tests.sandbox import ENDPOINTS, Api, Fault, Traits, Workspace
from integration_tests.sandbox.messages import Answer, Call, iso
from scripts.probe.findings import Verdict
from unit_tests.test_probe import (
    SIZES,
    STATUS,
    WORKSPACE,
    last_type,
    rows_with,
    run,
    segment_of,
    usual,
    with_each,
    with_late_arrival,
)

V1 = [path for path in ENDPOINTS if path.startswith("/v1")]
START = datetime(2026, 6, 1, 12, tzinfo=UTC)


def collections() -> dict[str, Any]:
    return {
        name: WORKSPACE.records(name)
        for name in {endpoint.collection for endpoint in ENDPOINTS.values()} | {"object_memberships"}
    }


def with_activities(*times: datetime, show: Callable[[str], str] = str) -> Api:
    rows = [
        {**WORKSPACE.records("activities")[0], "id": f"a_{place}", "activityTime": iso(at)}
        for place, at in enumerate(times, start=1)
    ]
    traits = with_each("/v2/activities", lambda row: {**row, "activityTime": show(row["activityTime"])})
    return usual(Workspace({**collections(), "activities": rows}), traits=traits)


def growing(collection: str, row: Callable[[int], dict[str, Any]]) -> Api:
    """Let a list grow by one with each request."""
    workspace = Workspace.generate(**SIZES)
    sent: list[str] = []

    def make(call: Call, answer: Answer) -> Answer:
        sent.append(call.path)
        workspace.insert(collection, row(len(sent)))
        return answer

    return usual(workspace, traits=Traits(otherwise=dict.fromkeys(ENDPOINTS, make)))


def without_numbers() -> Api:
    api = with_late_arrival("c_999999")
    named = with_each("/v2/contacts", lambda row: {**row, "id": f"{row['id']}-x"})
    api.traits = replace(api.traits, otherwise={**api.traits.otherwise, **named.otherwise})
    return api


def slow(seconds: float) -> Api:
    """Take so long for each answer, with a `Date` of when it began."""

    def make(_: Call, answer: Answer) -> Answer:
        time.sleep(seconds)
        return answer

    return usual(traits=Traits(otherwise=dict.fromkeys(ENDPOINTS, make)))


@pytest.mark.parametrize(
    "kind", ["server_error_500", "unavailable_503_html", "reset", "truncated_json", "forbidden_403_html"]
)
def test_given_an_api_that_fails_now_and_then_when_probed_then_no_row_is_said_to_be_broken(kind: str) -> None:
    outcome = run(usual(faults=[Fault(kind, every=7)]))

    # What A36 and A50 are about are such answers themselves.
    assert rows_with(outcome, Verdict.BROKEN) <= {"A36", "A50"}


@dataclass(frozen=True)
class Open:
    """A workspace, or an API, of which a row can't be told."""

    rows: str
    api: Callable[[], Api]
    reason: str = ""


def fails(row: str, path: str | None, when: Callable[[Any], bool] | None = None) -> Open:
    return Open(row, lambda: usual(faults=[Fault("server_error_500", path=path, when=when)]))


WHOLE = [START + timedelta(seconds=20 * place) for place in range(20)]
OPEN = (
    fails("A05", None, lambda params: int(params.get("limit", "0")) > 100),
    fails("A07", None, lambda params: "cursor" in params and params.get("limit") == "3"),
    fails("A14", f"/v1/segments/{segment_of('organization').removeprefix('s_')}/status"),
    fails("A17", "/v2/objects", lambda params: "segmentId" in params and params["objectTypeId"] == last_type()),
    fails("A18", "/v2/organizations", lambda params: "segmentId" in params),
    fails("A19", "/v2/contacts", lambda params: params.get("segmentId") == segment_of("organization")),
    fails("A20", "/v2/custom-fields", lambda params: last_type() in params.values()),
    fails("A25", "/v2/contacts", lambda params: len(re.findall(r"cf_\d+", params.get("cols", ""))) > 3),
    fails("A39", STATUS),
    fails("A41", "/v2/activities", lambda params: "," in params.get("cols", "")),
    fails("A42", "/v2/topics", lambda params: params.get("cols") == "recordCount" and params["limit"] == "1"),
    fails("A43", "/v2/tags", lambda params: "cols" in params),
    fails("A44", None, lambda params: params.get("cursor") == "not-a-cursor"),
    fails("A45", "/v2/contacts", lambda params: params.get("direction") == "desc" and "cols" not in params),
    Open(
        "A14 A15",
        lambda: usual(faults=[Fault("not_found_404", path=path) for path in V1]),
        "v1 is answered 404 altogether",
    ),
    Open("A01 A02", lambda: slow(1.5), ""),
    Open("A01", lambda: usual(traits=Traits(rate_interval=10)), "it isn't told that it counts for a second"),
    Open(
        "A46",
        without_numbers,
        "the ids of contacts have no numbers",
    ),
    Open(
        "A29 A30",
        lambda: with_activities(*WHOLE),
        "times are shown in whole seconds",
    ),
)


@pytest.mark.parametrize("entry", OPEN, ids=lambda entry: entry.rows)
def test_given_what_tells_nothing_of_a_row_when_probed_then_it_is_left_open(entry: Open) -> None:
    outcome = run(entry.api())

    for row in entry.rows.split():
        assert outcome.findings[row].verdict is Verdict.UNTOLD, outcome.findings[row]
        assert outcome.findings[row].evidence.startswith(entry.reason)


CLUSTER = [START - timedelta(milliseconds=place) for place in range(250)]
LONELY = [START + timedelta(seconds=15 + 20 * place, milliseconds=123) for place in range(20)]
LIVING: dict[str, Callable[[], Api]] = {
    "contacts": lambda: growing("contacts", lambda number: {"id": f"c_{900_000 + number}", "name": "New"}),
    "organizations": lambda: growing("organizations", lambda number: {"id": f"o_{900_000 + number}", "name": "New"}),
    "activities": lambda: growing(
        "activities",
        lambda number: {
            "id": f"a_{9_000_000 + number}",
            "type": "tweet",
            "activityTime": iso(datetime.fromtimestamp(time.time(), UTC)),
        },
    ),
    "a stale `entityCount`": lambda: usual(
        traits=with_each("/v2/segments", lambda row: {**row, "entityCount": row.get("entityCount", 0) + 1})
    ),
    "slow answers": lambda: slow(3.0),
    "a crowd before a lonely activity": lambda: with_activities(*CLUSTER, *LONELY),
    "fractions of zero left out": lambda: with_activities(
        *(START + timedelta(seconds=place // 2, milliseconds=500 * (place % 2)) for place in range(40)),
        show=lambda text: text.replace(".000Z", "Z"),
    ),
    "another offset": lambda: with_activities(
        *LONELY, show=lambda text: datetime.fromisoformat(text).astimezone(None).isoformat() if "3.1" in text else text
    ),
}


@pytest.mark.parametrize("make", LIVING.values(), ids=LIVING)
def test_given_what_is_as_assumed_and_looks_odd_when_probed_then_no_row_is_said_to_be_broken(
    make: Callable[[], Api],
) -> None:
    assert rows_with(run(make()), Verdict.BROKEN) == set()


def test_given_cursors_that_lead_nowhere_when_probed_then_they_do_not_hold() -> None:
    outcome = run(usual(faults=[Fault("repeated_page")]))

    assert outcome.findings["A06"].verdict is Verdict.BROKEN


@pytest.mark.parametrize("most", [0, 1])
def test_given_too_few_records_when_probed_then_what_takes_more_is_left_open(most: int) -> None:
    outcome = run(
        usual(Workspace({name: rows[:most] for name, rows in collections().items()}) if most else Workspace.of())
    )

    assert rows_with(outcome, Verdict.BROKEN) == set()
    assert not rows_with(outcome, Verdict.HOLDS) & {"A05", "A06", "A15", "A16", "A20", "A25", "A34", "A45", "A48"}
    if not most:
        assert not rows_with(outcome, Verdict.HOLDS) & {"A17", "A18", "A19", "A33", "A40", "A41", "A42"}
