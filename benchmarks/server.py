"""Serve a site as a process that answers for its traffic: `python -m benchmarks.server '{"contacts": 640, …}'`.

It is the sandbox, in a process of its own so that its CPU counts for none. A line on stdin is a command, and each
is answered by a line of JSON on stdout: `stats` tells the traffic since the last `reset`. The first line tells the
address and the token. The end of stdin ends it, and so does the end of the process that started it.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from typing import TYPE_CHECKING

import requests

from benchmarks.site import PAGE_SIZE, Site
from benchmarks.workspaces import build
from integration_tests.sandbox import Api, Sandbox

if TYPE_CHECKING:
    from integration_tests.sandbox import Request
    from integration_tests.sandbox.log import RequestLog

OK = 200
ACTIVITIES = "/v2/activities"


def main() -> None:
    """Serve until stdin ends."""
    site = Site(**json.loads(sys.argv[1]))
    api = Api(build(site), requests_per_second=site.requests_per_second)
    with Sandbox(api, latency=site.latency / 1000, jitter=site.jitter) as sandbox:
        _warm_up(sandbox)
        api.log.clear()
        _say({"api_url": sandbox.api_url, "token": sandbox.token})
        for line in sys.stdin:
            if line.strip() == "reset":
                api.log.clear()
            _say(traffic(api.log))


def _warm_up(sandbox: Sandbox) -> None:
    """Let it sort its lists once, so that the first contender doesn't wait for that."""
    for path in ("contacts", "organizations", "activities"):
        requests.get(
            f"{sandbox.api_url}/v2/{path}",
            {"limit": 1},
            headers={"Authorization": f"Bearer {sandbox.token}"},
            timeout=60,
        ).raise_for_status()


def traffic(log: RequestLog) -> dict[str, object]:
    """Sum a log up, as `benchmarks.emulator.Traffic` takes it."""
    requests = list(log.requests)
    return {
        "requests": len(requests),
        "rate_limited": log.rate_limited,
        "in_flight": log.max_in_flight,
        "by_path": Counter(request.path for request in requests),
        "activity_counts": len(log.counts(ACTIVITIES)),
        "pages": sum(map(_is_page, requests)),
        "statuses": Counter(request.status for request in requests),
    }


def _is_page(request: Request) -> bool:
    return request.status == OK and request.params.get("limit") == str(PAGE_SIZE)


def _say(answer: dict[str, object]) -> None:
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
