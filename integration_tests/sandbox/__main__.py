"""Serve the sandbox as a process: `python -m integration_tests.sandbox`."""

from __future__ import annotations

import argparse
import json
import signal
import sys
import time
from datetime import timedelta
from random import Random

from integration_tests.sandbox.api import DEFAULT_TOKEN, Api
from integration_tests.sandbox.cursors import CURSOR_STYLES
from integration_tests.sandbox.endpoints import ENDPOINTS
from integration_tests.sandbox.faults import KINDS, Fault, counts, counts_longer_than
from integration_tests.sandbox.generate import Sizes
from integration_tests.sandbox.messages import finer
from integration_tests.sandbox.server import Sandbox
from integration_tests.sandbox.traits import Direction, Traits
from integration_tests.sandbox.workspace import DEFAULT_SEED, Workspace


def read_fault(text: str) -> Fault:
    """Read `KIND=EVERY`: every so many-th request fails in this way; without a number, every one."""
    kind, _, every = text.partition("=")
    try:
        return Fault(kind, every=int(every or 1))
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def read_share(text: str) -> tuple[str, float]:
    """Read `PATH=SHARE`: this share of the rows of a path stands on no page."""
    path, _, share = text.partition("=")
    if path not in ENDPOINTS:
        raise argparse.ArgumentTypeError(f"there is no endpoint {path!r}")
    return path, float(share)


def read_order(text: str) -> tuple[str, tuple[str, Direction]]:
    """Read `PATH=SORT:DIRECTION`: the order of a path if none is asked for."""
    path, _, order = text.partition("=")
    sort, _, direction = order.partition(":")
    if direction not in {"asc", "desc"}:
        raise argparse.ArgumentTypeError(f"a direction is asc or desc, not {direction!r}")
    return path, (sort, "desc" if direction == "desc" else "asc")


def read_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    sizes = Sizes()
    parser = argparse.ArgumentParser(prog="python -m integration_tests.sandbox", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8010, help="0 for a free one (default: %(default)s)")
    for collection in ("contacts", "organizations", "activities"):
        default = getattr(sizes, collection)
        parser.add_argument(f"--{collection}", type=int, default=default, metavar="N", help="(default: %(default)s)")
    parser.add_argument("--seed", type=int, default=DEFAULT_SEED, help="another seed, another workspace")
    parser.add_argument("--latency", type=float, default=0, metavar="MS", help="milliseconds before an answer")
    parser.add_argument(
        "--jitter", type=float, default=0, metavar="F", help="the latency varies by this fraction of it"
    )
    parser.add_argument("--requests-per-second", type=int, metavar="N", help="answer 429 above (default: no limit)")
    parser.add_argument("--token", default=DEFAULT_TOKEN, help="the token to accept (default: %(default)s)")
    parser.add_argument(
        "--fault",
        type=read_fault,
        action="append",
        default=[],
        metavar="KIND=EVERY",
        help=f"fail every so many-th request; may be repeated. Kinds: {', '.join(KINDS)}",
    )
    parser.add_argument(
        "--withhold",
        type=read_share,
        action="append",
        default=[],
        metavar="PATH=SHARE",
        help="leave this share of the rows of a path, as /v2/contacts=0.03, out of its pages; may be repeated",
    )
    add_traits(parser)
    read = parser.parse_args(arguments)
    try:
        read.traits = read_traits(read)
    except ValueError as error:
        parser.error(str(error))
    return read


def add_traits(parser: argparse.ArgumentParser) -> None:
    """Add what the API's description leaves open."""
    traits = parser.add_argument_group("traits", "what the API's description leaves open")
    traits.add_argument("--cursor-style", choices=CURSOR_STYLES, default="keyset", help="(default: %(default)s)")
    for name, text in (
        ("text-sorted-ids", "compare ids as texts"),
        ("stored-finer", "store the times of activities to the microsecond, and answer milliseconds"),
        ("exclusive-start", "leave out what is of the moment of startDate"),
        ("exclusive-end", "leave out what is of the moment of endDate"),
        ("date-header", "answer a Date"),
        ("limit-may-change", "take a cursor with another limit than it was made for"),
        ("misfits", "answer values of other types than documented in each fifth record or so"),
        ("coarse-times", "cut times of activities down to the resolution of dates before they are compared"),
    ):
        traits.add_argument(f"--{name}", action="store_true", help=text)
    traits.add_argument("--date-resolution", type=float, metavar="MS", help="cut dates of a query down to it")
    traits.add_argument(
        "--clock-ahead", type=float, default=0, metavar="S", help="by how many seconds; negative: behind"
    )
    for name, metavar, text in (
        ("ignore-order", "PATH", "ignore sort and direction of a path"),
        ("uncounted", "PATH", "never answer recordCount of a path"),
        ("unservable", "ID", "answer 500 for a page that would hold this record"),
    ):
        traits.add_argument(f"--{name}", action="append", default=[], metavar=metavar, help=f"{text}; may be repeated")
    traits.add_argument(
        "--order",
        type=read_order,
        action="append",
        default=[],
        metavar="PATH=SORT:DIRECTION",
        help="the order of a path if none is asked for, as /v2/activities=activityTime:desc; may be repeated",
    )
    traits.add_argument(
        "--failing-counts",
        type=float,
        metavar="DAYS",
        help="answer 504 to the count of a span longer than this, or of none; 0 for all counts",
    )


def read_traits(arguments: argparse.Namespace) -> Traits:
    """Tell the traits that the command line chose."""
    resolution = arguments.date_resolution
    return Traits(
        stored_finer=arguments.stored_finer,
        exclusive_start=arguments.exclusive_start,
        exclusive_end=arguments.exclusive_end,
        date_resolution=timedelta(milliseconds=resolution) if resolution else None,
        coarse_times=arguments.coarse_times,
        order=dict(arguments.order),
        ignores_order=tuple(arguments.ignore_order),
        text_sorted_ids=arguments.text_sorted_ids,
        uncounted=tuple(arguments.uncounted),
        unservable=tuple(arguments.unservable),
        dates=arguments.date_header,
        limit_may_change=arguments.limit_may_change,
        misfits=arguments.misfits,
    )


def main() -> None:
    """Serve until Ctrl-C or SIGTERM."""
    arguments = read_arguments()
    workspace = Workspace.generate(
        seed=arguments.seed,
        contacts=arguments.contacts,
        organizations=arguments.organizations,
        activities=arguments.activities,
    )
    if arguments.stored_finer:
        rng = Random(arguments.seed)
        for row in workspace.records("activities"):
            workspace.replace("activities", {**row, "activityTime": finer(row["activityTime"], rng)})
    if arguments.failing_counts is not None:
        when = counts_longer_than(arguments.failing_counts) if arguments.failing_counts else counts
        arguments.fault.append(Fault("status", status=504, when=when))
    api = Api(
        workspace,
        token=arguments.token,
        cursor_style=arguments.cursor_style,
        requests_per_second=arguments.requests_per_second,
        faults=arguments.fault,
        withheld=dict(arguments.withhold),
        traits=arguments.traits,
        clock=lambda: time.time() + arguments.clock_ahead,
    )
    # Blocked before the server's thread starts, the signals wait for `sigwait`.
    ending = {signal.SIGINT, signal.SIGTERM}
    signal.pthread_sigmask(signal.SIG_BLOCK, ending)
    with Sandbox(
        api,
        host=arguments.host,
        port=arguments.port,
        latency=arguments.latency / 1000,
        jitter=arguments.jitter,
        seed=arguments.seed,
    ) as sandbox:
        config = {"api_url": sandbox.api_url, "api_token": sandbox.token}
        sys.stdout.write(f"Common Room's API is emulated at {sandbox.api_url}\n")
        sys.stdout.write(f"Token:  {sandbox.token}\nConfig: {json.dumps(config)}\nCtrl-C ends it.\n")
        sys.stdout.flush()
        signal.sigwait(ending)


if __name__ == "__main__":
    main()
