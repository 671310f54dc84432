"""Serve the sandbox as a process: `python -m integration_tests.sandbox`."""

from __future__ import annotations

import argparse
import json
import signal
import sys

from integration_tests.sandbox.api import DEFAULT_TOKEN, Api
from integration_tests.sandbox.endpoints import ENDPOINTS
from integration_tests.sandbox.faults import KINDS, Fault
from integration_tests.sandbox.generate import Sizes
from integration_tests.sandbox.server import Sandbox
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
    return parser.parse_args(arguments)


def main() -> None:
    """Serve until Ctrl-C or SIGTERM."""
    arguments = read_arguments()
    workspace = Workspace.generate(
        seed=arguments.seed,
        contacts=arguments.contacts,
        organizations=arguments.organizations,
        activities=arguments.activities,
    )
    api = Api(
        workspace,
        token=arguments.token,
        requests_per_second=arguments.requests_per_second,
        faults=arguments.fault,
        withheld=dict(arguments.withhold),
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
