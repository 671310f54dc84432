"""The state that comes in: what is understood, what is refused, and what is not believed."""

import json
import logging
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import requests_mock
from airbyte_cdk.models import (
    AirbyteGlobalState,
    AirbyteStateBlob,
    AirbyteStateMessage,
    AirbyteStateType,
    AirbyteStreamState,
    FailureType,
    StreamDescriptor,
)
from airbyte_cdk.utils.traced_exception import AirbyteTracedException

from integration_tests.sandbox import Api, Workspace
from source_commonroom import run
from source_commonroom.activities.state import usable_state
from unit_tests.conftest import NOW, Read
from unit_tests.output import Output

START = "2025-06-30T00:00:00.000Z"
LOOKBACK = timedelta(days=3)


def moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


def text(time: datetime) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S.") + f"{time.microsecond // 1000:03}Z"


def after_now(**delta: float) -> str:
    return text(moment(NOW) + timedelta(**delta))


def state_of(content: Any, stream: str = "activities") -> AirbyteStateMessage:
    return AirbyteStateMessage(
        type=AirbyteStateType.STREAM,
        stream=AirbyteStreamState(
            stream_descriptor=StreamDescriptor(name=stream),
            stream_state=None if content is None else AirbyteStateBlob(content),
        ),
    )


def ranges(*spans: tuple[Any, Any], **more: Any) -> dict[str, Any]:
    return {"state_type": "date-range", "slices": [{"start": start, "end": end, **more} for start, end in spans]}


def daily() -> Api:
    """An API with an activity at noon of each day of a year up to now."""
    start = moment(START)
    return Api(
        Workspace.of(
            activities=[
                {"id": f"a_{day}", "type": "tweet", "activityTime": text(start + timedelta(days=day, hours=12))}
                for day in range(366)
            ]
        )
    )


def read_from(read: Read, api: Api, content: Any, **more: Any) -> list[str]:
    """Read activities from a state; return the days of what came."""
    output = read(api, "activities", state=[state_of(content)], start_date=START.replace(".000", ""), **more)
    assert output.exit_code == 0
    assert_not_past_now(output)
    return sorted(row["activityTime"][:10] for row in output.records("activities"))


def assert_not_past_now(output: Output) -> None:
    for state in output.states("activities"):
        assert state.stream
        for span in vars(state.stream.stream_state)["slices"]:
            assert moment(span["end"]) <= moment(NOW) + timedelta(seconds=1)


LAST_THREE = ["2026-06-28", "2026-06-29", "2026-06-30"]


@pytest.mark.parametrize(
    "content",
    [
        ranges((START, "2026-06-30T23:00:00.000Z")),
        ranges((START, "2026-06-30T23:00:00.000Z"), most_recent_cursor_value="no moment at all"),
        ranges((START, "2026-01-01T00:00:00.000Z"), ("2026-01-01T00:00:00.001Z", "2026-06-30T23:00:00.000Z")),
        # In any order, and overlapping.
        ranges(("2026-01-01T00:00:00.000Z", "2026-06-30T23:00:00Z"), (START, "2026-03-01T00:00:00+00:00")),
        ranges(("2025-06-30T02:00:00.000+02:00", "2026-07-01T01:00:00.000123+02:00")),
        {"activityTime": "2026-06-30T23:00:00.000Z"},
        {"activityTime": "2026-06-30T23:00:00Z"},
        {"activityTime": "2026-07-01T01:00:00.123456+02:00"},
    ],
    ids=json.dumps,
)
def test_given_a_state_of_a_known_form_when_read_then_only_the_lookback_is_read(content: Any, read: Read) -> None:
    # The lookback goes back to 23:00, so that the noon of the 27th lies before it.
    assert read_from(read, daily(), content) == LAST_THREE


@pytest.mark.parametrize(
    "content",
    [None, {}, {"__ab_no_cursor_state_message": True}, {"state_type": "date-range", "slices": []}],
    ids=json.dumps,
)
def test_given_a_state_that_says_nothing_when_read_then_everything_is_read(content: Any, read: Read) -> None:
    assert len(read_from(read, daily(), content)) == 366


@pytest.mark.parametrize(
    ("progress", "first"),
    [
        ({}, "2026-06-28"),
        ({"in_progress": False}, "2026-06-28"),
        ({"lookback_from": "2026-06-20T23:00:00.000Z"}, "2026-06-18"),
        ({"lookback_from": "2026-06-20T23:00:00.000Z", "in_progress": False}, "2026-06-18"),
        ({"lookback_from": "2026-06-21T01:00:00+02:00"}, "2026-06-18"),
        # Ahead of this machine's clock: taken for now.
        ({"lookback_from": "2027-01-01T00:00:00Z"}, "2026-06-28"),
    ],
    ids=json.dumps,
)
def test_given_a_state_of_a_sync_that_came_to_its_end_when_read_then_the_lookback_is_counted_from_what_it_says(
    progress: dict[str, Any], first: str, read: Read
) -> None:
    content = {**ranges((START, "2026-06-30T23:00:00.000Z")), **progress}

    assert read_from(read, daily(), content)[0] == first


@pytest.mark.parametrize("since", [{}, {"lookback_from": "2026-06-28T23:00:00.000Z"}], ids=json.dumps)
def test_given_a_state_in_progress_when_read_then_only_the_gaps_are_read_and_the_next_sync_reads_the_lookback(
    since: dict[str, str], read: Read
) -> None:
    spans = ranges((START, "2025-12-01T00:00:00.000Z"), ("2025-12-05T00:00:00.000Z", "2026-06-29T23:00:00.000Z"))
    content = {**spans, "in_progress": True, **since}
    api = daily()

    output = read(api, "activities", state=[state_of(content)], start_date=START.replace(".000", ""))

    days = sorted(row["activityTime"][:10] for row in output.records("activities"))
    assert days == ["2025-12-01", "2025-12-02", "2025-12-03", "2025-12-04", "2026-06-30"]
    after = output.last_state("activities")[1]
    assert "in_progress" not in after
    assert after["lookback_from"] == since.get("lookback_from", "2026-06-29T23:00:00.000Z")
    assert read_from(read, api, after)[0] == ("2026-06-26" if since else "2026-06-27")


def test_given_syncs_in_progress_for_longer_than_the_lookback_when_read_then_the_lookback_is_read_again(
    read: Read,
) -> None:
    progress = {"in_progress": True, "lookback_from": "2026-06-20T23:00:00.000Z"}
    content = {**ranges((START, "2026-06-29T23:00:00.000Z")), **progress}

    assert read_from(read, daily(), content)[0] == "2026-06-18"
    assert read_from(read, daily(), content, lookback_window_days=0) == ["2026-06-30"]
    assert read_from(read, daily(), content, lookback_window_days=30) == ["2026-06-30"]


def test_given_two_spans_when_read_then_the_gap_between_them_is_read(read: Read) -> None:
    content = ranges((START, "2025-12-01T00:00:00.000Z"), ("2025-12-05T00:00:00.000Z", "2026-06-30T23:00:00.000Z"))

    days = read_from(read, daily(), content)

    assert days == ["2025-12-01", "2025-12-02", "2025-12-03", "2025-12-04", *LAST_THREE]


UNREADABLE = [
    ({"cursor": "2026-01-01"}, "unknown form"),
    ({"activityTime": START, "something": 1}, "unknown form"),
    ({"state_type": "date-range"}, "unknown form"),
    ({"slices": []}, "unknown form"),
    ({"state_type": "integer", "slices": []}, "unknown form"),
    ({**ranges((START, START)), "legacy": {}}, "unknown form"),
    ({"state_type": "date-range", "slices": {}}, "slices are no list"),
    ({"state_type": "date-range", "slices": None}, "slices are no list"),
    ({"state_type": "date-range", "slices": [5]}, "no start or no end"),
    ({"state_type": "date-range", "slices": [{"start": START}]}, "no start or no end"),
    ({**ranges((START, START)), "lookback_from": "yesterday"}, "no timestamp"),
    ({**ranges((START, START)), "lookback_from": None}, "no timestamp"),
    ({**ranges((START, START)), "lookback_from": 1_700_000_000}, "no timestamp"),
    ({**ranges((START, START)), "in_progress": "yes"}, "neither true nor false"),
    ({**ranges((START, START)), "in_progress": None}, "neither true nor false"),
    ({**ranges((START, START)), "in_progress": 1}, "neither true nor false"),
    ({"activityTime": START, "in_progress": True}, "unknown form"),
    (ranges((START, "yesterday")), "no timestamp"),
    (ranges((None, START)), "no timestamp"),
    (ranges((1_700_000_000, START)), "no timestamp"),
    (ranges((START, "2026-02-30T00:00:00.000Z")), "no timestamp"),
    (ranges((START, "2026-02-03T00:00:00.000")), "no timestamp"),
    (ranges((START, "2026-02-03")), "no timestamp"),
    (ranges(("0001-01-01T00:00:00.000Z", START)), "no timestamp"),
    (ranges(("9999-12-31T23:59:59.999-02:00", START)), "no timestamp"),
    (ranges((START, "2025-06-29T23:59:59.999Z")), "ends before it begins"),
    (ranges((START, "2026-01-01T00:00:00Z"), ("2026-02-01T00:00:00Z", "2026-01-31T00:00:00Z")), "ends before it"),
    ({"activityTime": ""}, "no timestamp"),
    ({"activityTime": None}, "no timestamp"),
    ({"activityTime": ["2026-01-01T00:00:00Z"]}, "no timestamp"),
]


@pytest.mark.parametrize(("content", "why"), UNREADABLE, ids=[json.dumps(content) for content, _ in UNREADABLE])
def test_given_a_state_that_cannot_be_read_when_read_then_it_ends_before_any_request(
    content: Any, why: str, read: Read
) -> None:
    api = daily()

    with pytest.raises(AirbyteTracedException) as refused:
        read(api, "activities", "tags", state=[state_of(content)])

    assert refused.value.failure_type == FailureType.config_error
    assert str(refused.value).startswith("activities: the saved state can't be read: ")
    assert why in str(refused.value)
    assert "refresh of the stream" in str(refused.value)
    assert api.log.requests == []


@pytest.mark.parametrize(
    "message",
    [
        AirbyteStateMessage(type=AirbyteStateType.LEGACY, data={"activities": {"activityTime": START}}),
        AirbyteStateMessage(type=AirbyteStateType.GLOBAL, global_=AirbyteGlobalState(stream_states=[])),
        AirbyteStateMessage(data={"activities": {}}),
        AirbyteStateMessage(type=AirbyteStateType.STREAM),
        # The CDK would pass over it without a word.
        AirbyteStateMessage(stream=state_of({"activityTime": START}).stream),
    ],
    ids=["legacy", "global", "untyped data", "without a stream", "untyped stream"],
)
def test_given_a_state_that_is_not_one_of_a_stream_when_read_then_it_is_refused(
    message: AirbyteStateMessage, read: Read
) -> None:
    api = daily()

    with pytest.raises(AirbyteTracedException, match="no list of states of streams") as refused:
        read(api, "activities", state=[message])

    assert refused.value.failure_type == FailureType.config_error
    assert api.log.requests == []


def test_given_states_of_streams_that_are_not_selected_when_read_then_one_line_names_them(
    read: Read, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="airbyte")
    nonsense = [state_of({"what": ["ever"]}, stream) for stream in ("tasks", "contacts")]

    output = read(daily(), "tags", state=[*nonsense, state_of({"cursor": 5})])

    assert output.exit_code == 0
    said = [record for record in caplog.records if "saved state" in record.getMessage()]
    assert [record.levelno for record in said] == [logging.INFO]
    assert "activities, contacts, tasks" in said[0].getMessage()


def test_given_the_state_of_a_stream_that_has_none_when_read_then_nothing_is_said(
    read: Read, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="airbyte")

    output = read(daily(), "tags", state=[state_of({"__ab_no_cursor_state_message": True}, "tags")])

    assert output.exit_code == 0
    assert [record for record in caplog.records if "saved state" in record.getMessage()] == []


def test_given_two_states_of_one_stream_when_read_then_the_last_one_counts() -> None:
    older, newer = state_of({"activityTime": START}), state_of({"activityTime": "2026-06-30T00:00:00.000Z"})

    (message,) = usable_state([older, newer], {"activities"}, LOOKBACK)

    assert message == newer


@pytest.mark.parametrize("ahead", [{"milliseconds": 1}, {"hours": 1}, {"days": 3}], ids=str)
@pytest.mark.parametrize("form", ["sequential", "date-range"])
def test_given_a_state_a_little_ahead_when_read_then_it_is_taken_for_now(
    ahead: dict[str, float], form: str, read: Read, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="airbyte")
    end = after_now(**ahead)

    days = read_from(read, daily(), {"activityTime": end} if form == "sequential" else ranges((START, end)))

    assert days == LAST_THREE
    assert "taken for now" in caplog.text


@pytest.mark.parametrize(
    "content", [{"activityTime": after_now(days=3, seconds=1)}, ranges((START, "2999-01-01T00:00:00Z"))]
)
def test_given_a_state_far_ahead_when_read_then_everything_is_read_again_with_a_warning(
    content: Any, read: Read, caplog: pytest.LogCaptureFixture
) -> None:
    days = read_from(read, daily(), content)

    assert len(days) == 366
    (said,) = [record for record in caplog.records if "saved state" in record.getMessage()]
    assert said.levelno == logging.WARNING
    assert "can't have been read" in said.getMessage()


def test_given_one_span_far_ahead_when_read_then_the_others_stay(read: Read) -> None:
    content = ranges((START, "2026-06-01T00:00:00.000Z"), ("2026-06-10T00:00:00.000Z", "2027-01-01T00:00:00.000Z"))

    days = read_from(read, daily(), content, lookback_window_days=0)

    # From the end of what is believed up to now.
    assert days == [text(moment(START) + timedelta(days=day))[:10] for day in range(336, 366)]


def test_given_no_lookback_and_a_state_ahead_when_read_then_it_is_not_believed(read: Read) -> None:
    assert len(read_from(read, daily(), ranges((START, after_now(seconds=2))), lookback_window_days=0)) == 366


def test_given_a_span_that_begins_ahead_when_read_then_it_is_left_out(read: Read) -> None:
    content = ranges((START, "2026-06-30T23:00:00.000Z"), (after_now(hours=1), after_now(hours=2)))

    assert read_from(read, daily(), content) == LAST_THREE


def test_given_a_span_that_begins_ahead_when_read_then_the_lookback_is_counted_from_the_others(read: Read) -> None:
    content = ranges((START, "2026-06-20T23:00:00.000Z"), (after_now(hours=1), after_now(hours=2)))

    assert read_from(read, daily(), content)[0] == "2026-06-18"


@pytest.mark.parametrize(
    "content",
    [
        "{",
        "",
        '"text"',
        "5",
        '{"activities": {"activityTime": "2026-01-01T00:00:00Z"}}',
        "[5]",
        '[{"type": "NONE"}]',
        '[{"type": "STREAM"}]',
        '[{"type": "STREAM", "stream": {"stream_descriptor": {"name": "activities"}, "stream_state": "abc"}}]',
        '[{"type": "GLOBAL", "global": {"stream_states": []}}]',
        '[{"type": "STREAM", "stream": {"stream_descriptor": {"name": "activities"}, "stream_state": {"a": 1}}}]',
    ],
)
def test_given_a_state_file_of_another_kind_when_run_then_it_is_a_config_error_before_any_request(
    content: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {
        "config": json.dumps({"api_token": "test-token"}),
        "catalog": json.dumps(
            {
                "streams": [
                    {
                        "stream": {"name": "activities", "json_schema": {}, "supported_sync_modes": ["incremental"]},
                        "sync_mode": "incremental",
                        "destination_sync_mode": "append",
                    }
                ]
            }
        ),
        "state": content,
    }
    arguments = []
    for name, written in files.items():
        (tmp_path / name).write_text(written)
        arguments += [f"--{name}", str(tmp_path / name)]
    # A test's process must not take part in what a read does to the signals of its own.
    monkeypatch.setattr(run, "_end_at_sigterm", lambda: None)
    monkeypatch.setattr("sys.argv", ["source-commonroom", "read", *arguments])

    with requests_mock.Mocker() as mocker, pytest.raises(AirbyteTracedException) as refused:
        run.run()

    assert refused.value.failure_type == FailureType.config_error
    assert "state" in str(refused.value)
    assert mocker.call_count == 0
