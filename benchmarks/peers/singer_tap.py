"""A minimal tap on Meltano's Singer SDK: what its documentation leads to, with no code of its own for speed.

The schemas name every column asked for, with a loose type: less work a record than the full types of a real tap.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from singer_sdk import RESTStream, Stream, Tap
from singer_sdk import typing as th
from singer_sdk.authenticators import BearerTokenAuthenticator
from singer_sdk.pagination import JSONPathPaginator

if TYPE_CHECKING:
    from requests.auth import AuthBase

ANYTHING = th.CustomType({"type": ["string", "number", "boolean", "object", "array", "null"]})


class PagedStream(RESTStream[str]):  # type: ignore[misc]  # the SDK is in another environment
    """A list of the API, page by page."""

    records_jsonpath = "$.data[*]"
    primary_keys: ClassVar[tuple[str, ...]] = ("id",)

    def __init__(self, tap: Tap, stream: dict[str, Any]) -> None:
        self.path = stream["path"]
        self._params = stream["params"]
        properties = (th.Property(column, ANYTHING) for column in stream["columns"])
        super().__init__(tap, name=stream["name"], schema=th.PropertiesList(*properties).to_dict())

    @property
    def url_base(self) -> str:
        """The address that paths begin with."""
        return str(self.config["api_url"])

    @property
    def authenticator(self) -> AuthBase:
        """The bearer token."""
        authenticator: AuthBase = BearerTokenAuthenticator(token=self.config["token"])
        return authenticator

    def get_new_paginator(self) -> JSONPathPaginator:
        """Page by the cursor of the page before."""
        return JSONPathPaginator("$.meta.nextCursor")

    def get_url_params(self, context: Any, next_page_token: str | None) -> dict[str, Any]:  # noqa: ARG002  # the SDK's
        """Ask for all columns, and for the page after the cursor."""
        return {**self._params} | ({"cursor": next_page_token} if next_page_token else {})


class TapBenchmark(Tap):  # type: ignore[misc]  # the SDK is in another environment
    """The tap; its configuration is the job."""

    name = "tap-benchmark"
    config_jsonschema = th.PropertiesList(
        th.Property("api_url", th.StringType, required=True),
        th.Property("token", th.StringType, required=True, secret=True),
        th.Property("streams", th.ArrayType(ANYTHING)),
    ).to_dict()

    def discover_streams(self) -> list[Stream]:
        """Make the streams of the job."""
        return [PagedStream(self, stream) for stream in self.config["streams"]]


if __name__ == "__main__":
    TapBenchmark(config=Path(sys.argv[1])).sync_all()
