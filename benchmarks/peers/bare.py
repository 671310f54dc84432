"""The bare client: what remains when nothing is done but to fetch pages and to write records as lines of JSON.

One thread a stream, one page after the other, httpx and orjson; no schema, no state, no checks. It isn't something to
use, but the measure of what the others add.
"""

from __future__ import annotations

import json
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

import httpx
import orjson

if TYPE_CHECKING:
    from collections.abc import Iterator

TOO_MANY_REQUESTS = 429


def main() -> None:
    """Read the streams of the job that the first argument names."""
    job = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    lock = Lock()
    headers = {"Authorization": f"Bearer {job['token']}"}
    with httpx.Client(base_url=job["api_url"], headers=headers, timeout=60) as client:

        def read(stream: dict[str, Any]) -> None:
            for rows in pages(client, stream):
                lines = b"".join(orjson.dumps({"stream": stream["name"], "data": row}) + b"\n" for row in rows)
                with lock:
                    sys.stdout.buffer.write(lines)

        with ThreadPoolExecutor(len(job["streams"])) as pool:
            list(pool.map(read, job["streams"]))


def pages(client: httpx.Client, stream: dict[str, Any]) -> Iterator[list[Any]]:
    """Walk the pages of a stream; if the API says 429, wait as long as it says."""
    params = dict(stream["params"])
    while True:
        response = client.get(stream["path"], params=params)
        body = orjson.loads(response.content)
        if response.status_code == TOO_MANY_REQUESTS:
            time.sleep(body["rateLimit"]["waitMs"] / 1000)
            continue
        response.raise_for_status()
        yield body["data"]
        params["cursor"] = body["meta"]["nextCursor"]
        if params["cursor"] is None:
            return


if __name__ == "__main__":
    main()
