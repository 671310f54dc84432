"""dlt's rest_api source, the extract step alone: pages fetched and written to dlt's load package, nothing more.

What would follow, normalize and load, is left out, since the connector's part ends at the same place. Streams are
extracted in parallel (`parallelize()`) and written uncompressed; everything else is as dlt comes.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import dlt
from dlt.sources.rest_api import rest_api_source


def main() -> None:
    """Extract the streams of the job that the first argument names, into the current folder."""
    job = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    source = rest_api_source(
        {
            "client": {
                "base_url": job["api_url"],
                "auth": {"type": "bearer", "token": job["token"]},
                "paginator": {"type": "cursor", "cursor_path": "meta.nextCursor", "cursor_param": "cursor"},
            },
            "resources": [
                {
                    "name": stream["name"],
                    "primary_key": "id",
                    "endpoint": {
                        "path": stream["path"].lstrip("/"),
                        "params": stream["params"],
                        "data_selector": "data",
                    },
                }
                for stream in job["streams"]
            ],
        }
    )
    # As dlt comes, it would compress the package: 10 to 20 µs a record that no other contender spends.
    dlt.config["data_writer.disable_compression"] = True
    pipeline = dlt.pipeline("benchmark", pipelines_dir=str(Path.cwd()), destination="dummy")
    pipeline.extract(source.parallelize())


if __name__ == "__main__":
    main()
