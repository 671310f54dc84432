"""Lists that several streams of one command need, each asked for once."""

import threading
from collections import defaultdict
from collections.abc import Mapping

from airbyte_cdk.sources.types import StreamSlice

from source_commonroom.api.retriever import PageRetriever, Rows
from source_commonroom.lists.completeness import Counts

_Key = tuple[bytes, str, frozenset[tuple[str, str]]]
_rows: dict[_Key, Rows] = {}
_asking: defaultdict[_Key, threading.Lock] = defaultdict(threading.Lock)


def fetch_cached(retriever: PageRetriever, partition: Mapping[str, str] | None = None) -> Rows:
    """Return all rows of a list, fetched once since :func:`clear_cache`; don't change them.

    :param retriever: walks the list; two with the same token and address return the same
    :param partition: what goes into the query
    :raises AirbyteTracedException: if the list can't be read, or not all of it; the next caller tries again
    """
    # Two workspaces may be read in one process, each with a token of its own.
    key = (retriever.requester.token_key, retriever.requester.get_url(), frozenset((partition or {}).items()))
    with _asking[key]:
        if key not in _rows:
            part = StreamSlice(partition=dict(partition or {}), cursor_slice={})
            _rows[key] = [row for page in Counts(retriever).read(part) for row in page]
        return _rows[key]


def clear_cache() -> None:
    """Let every list be asked for anew: each command begins so."""
    _rows.clear()
