"""The source: what Airbyte asks for, spec, check, discover and read."""

import logging
from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy
from functools import partial
from queue import Full, Queue
from typing import Any

from airbyte_cdk.models import (
    AirbyteCatalog,
    AirbyteConnectionStatus,
    AirbyteMessage,
    AirbyteStateMessage,
    AirbyteStateMessageSerializer,
    ConfiguredAirbyteCatalog,
    ConfiguredAirbyteCatalogSerializer,
    ConnectorSpecification,
    FailureType,
    Level,
    Status,
)
from airbyte_cdk.sources import Source
from airbyte_cdk.sources.concurrent_source.concurrent_source import ConcurrentSource
from airbyte_cdk.sources.concurrent_source.thread_pool_manager import ThreadPoolManager
from airbyte_cdk.sources.connector_state_manager import ConnectorStateManager
from airbyte_cdk.sources.message import InMemoryMessageRepository
from airbyte_cdk.sources.message.concurrent_repository import ConcurrentMessageRepository
from airbyte_cdk.sources.streams.concurrent.abstract_stream import AbstractStream
from airbyte_cdk.sources.streams.concurrent.cursor import Cursor, CursorField, FinalStateCursor
from airbyte_cdk.sources.streams.concurrent.default_stream import DefaultStream
from airbyte_cdk.utils.traced_exception import AirbyteTracedException

from source_commonroom.activities.cursor import TimeRange, WindowCursor
from source_commonroom.activities.state import usable_state
from source_commonroom.api.http import Access
from source_commonroom.check import StreamProbe, ask_for_each, refusal_of, sentence_of_expiry, status_of
from source_commonroom.config import validate_config, without_empty
from source_commonroom.endpoints import Endpoints
from source_commonroom.files import UnreadableFileError, read_json
from source_commonroom.lists.cached import clear_cache
from source_commonroom.lists.completeness import Counts
from source_commonroom.lists.estimates import Estimates
from source_commonroom.lists.partitions import object_types_or_none
from source_commonroom.lists.walks import Lists
from source_commonroom.object_streams import name_streams, type_of
from source_commonroom.output.pages import Backlog
from source_commonroom.output.partitions import AsPages, PagePartitions, Pages, as_records
from source_commonroom.table import StreamRow, load_manifest, rows

# How long a failing request is tried, in seconds, while a person waits for the schemas.
_PATIENCE_WITHOUT_A_CATALOG = 30.0
# As many messages as the CDK's own sources let wait.
_MOST_QUEUED = 10_000
# One of each type of objects, whose name source and discover give it.
_OF_OBJECTS = partial(
    StreamRow,
    endpoint="objects",
    page="paged_open",
    cols="recordKey,cf_*",
    counts=True,
    both_ends=True,
    schema="objects",
    slices="one_object_type",
    slice_fields=("objectTypeId",),
)


class SourceCommonroom(Source):
    """A Common Room workspace as an Airbyte source, whose streams ``manifest.yaml`` lists.

    Configuration, catalog and state may be given here, as the command line and PyAirbyte do, or with each call, as
    ``airbyte-cdk connector test`` does. Without a configuration no request is made.

    :param catalog: the configured catalog of a read; None for spec, check and discover
    :param config: the configuration, as spec describes it; None for spec
    :param state: the state of the last sync, one message a stream
    :param backlog: if a :class:`~source_commonroom.output.entrypoint.PageEntrypoint` writes the messages, its backlog;
        each page is one message then. Without it, every record is one, as in any Airbyte source
    :raises AirbyteTracedException: (config_error) if the configuration isn't valid, or the state can't be read
    """

    def __init__(
        self,
        catalog: ConfiguredAirbyteCatalog | None = None,
        config: Mapping[str, Any] | None = None,
        state: list[AirbyteStateMessage] | None = None,
        backlog: Backlog | None = None,
    ) -> None:
        self._backlog = backlog
        self._given: Mapping[str, Any] | None = None
        self._config: Mapping[str, Any] | None = None
        if catalog is not None:
            _refuse_repeated(catalog)
        complete = {} if config is None else self._adopt(config)
        self._given_state = state or []
        streams = None if catalog is None else {configured.stream.name for configured in catalog.streams}
        lookback = TimeRange.of(complete).lookback
        self._state = usable_state(self._given_state, streams, lookback)
        self._of_state = streams, lookback
        """What the state was made usable for."""

    def _adopt(self, config: Mapping[str, Any] | None) -> Mapping[str, Any]:
        """Go by a configuration from now on, and return it without what is empty.

        :raises AirbyteTracedException: (config_error) if it isn't valid
        """
        if self._config is not None and config == self._given:
            return self._config
        schema = _config_schema()
        complete = without_empty({} if config is None else config, schema)
        validate_config(complete, schema)
        # A caller may change its own, and call again.
        self._given, self._config = deepcopy(config), complete
        return complete

    def spec(self, logger: logging.Logger) -> ConnectorSpecification:  # noqa: ARG002  # the CDK's signature
        """Return what a configuration may hold."""
        return ConnectorSpecification(
            connectionSpecification=_config_schema(), documentationUrl=load_manifest()["spec"]["documentation_url"]
        )

    def check(self, logger: logging.Logger, config: Mapping[str, Any]) -> AirbyteConnectionStatus:  # noqa: ARG002  # the CDK's signature
        """Return SUCCEEDED if the token may read its own status, and say what else it may not read, or until when.

        The CDK's ``CheckStream`` tries for half a minute, and answers with the ``repr`` of "Stream … is not available:
        …"; a person in Airbyte's UI waits for seconds, and gets the sentence alone.
        """
        config = self._adopt(config)
        expiry, over = sentence_of_expiry(config["api_token"])
        if over:
            return AirbyteConnectionStatus(status=Status.FAILED, message=expiry)
        clear_cache()
        endpoints = Endpoints(config, Access.of(config, _PATIENCE_WITHOUT_A_CATALOG))
        probes = {
            row.name: StreamProbe(endpoints.retriever(row), None if row.cursor_field else endpoints.slicer(row))
            for row in rows().values()
        }
        (first,) = load_manifest()["check"]["stream_names"]
        if refusal := refusal_of(probes.pop(first)):
            return AirbyteConnectionStatus(status=Status.FAILED, message=refusal)
        return status_of(ask_for_each(list(probes.values())), expiry)

    def discover(self, logger: logging.Logger, config: Mapping[str, Any]) -> AirbyteCatalog:  # noqa: ARG002  # the CDK's signature
        """Return the catalog: the manifest's streams, and one for each type of objects.

        :raises AirbyteTracedException: if the definitions of custom fields can't be read
        """
        config = self._adopt(config)
        clear_cache()
        access = Access.of(config, _PATIENCE_WITHOUT_A_CATALOG)
        engine = _Engine(config, Endpoints(config, access), [], None)
        types = object_types_or_none(engine.endpoints.object_types("object_types")) or []
        of_objects = [_OF_OBJECTS(name=name, entity=type_id) for name, type_id in name_streams(types)]
        found = [engine.stream(row, None) for row in [*rows().values(), *of_objects]]
        return AirbyteCatalog(streams=[stream.as_airbyte_stream() for stream in found])

    def streams(self, config: Mapping[str, Any]) -> list[AbstractStream]:
        """Return the manifest's streams, with the state that the source was made with."""
        config = self._adopt(config)
        engine = _Engine(config, Endpoints(config, Access.of(config)), self._state, None)
        return [engine.stream(row, None) for row in rows().values()]

    def read(
        self,
        logger: logging.Logger,
        config: Mapping[str, Any],
        catalog: ConfiguredAirbyteCatalog,
        state: list[AirbyteStateMessage] | None = None,
    ) -> Iterator[AirbyteMessage]:
        """Read the streams of the catalog, whatever its order, the longest chains of pages first.

        The manifest lists them first. Streams in windows come last: the CDK's pool works in the order of
        submission, and a chain that waits behind windows would end long after them.
        """
        config = self._adopt(config)
        _refuse_repeated(catalog)
        clear_cache()
        if expiry := sentence_of_expiry(config["api_token"])[0]:
            logger.warning("%s", expiry)
        usable = self._usable(self._given_state if state is None else state, config, catalog)
        engine = _Engine(config, Endpoints(config, Access.of(config)), usable, self._backlog)
        schemas = {configured.stream.name: configured.stream.json_schema for configured in catalog.streams}
        found = [rows().get(name) or _OF_OBJECTS(name=name, entity=type_of(name)) for name in schemas]
        places = {name: place for place, name in enumerate(rows())}
        found.sort(key=lambda row: (bool(row.cursor_field), places.get(row.name, len(places))))
        try:
            yield from engine.read([engine.stream(row, schemas[row.name]) for row in found])
        finally:
            engine.endpoints.summarize()

    def _usable(
        self, state: list[AirbyteStateMessage], config: Mapping[str, Any], catalog: ConfiguredAirbyteCatalog
    ) -> list[AirbyteStateMessage]:
        """Return what can be used of a state; what is said of it is said once."""
        asked = {configured.stream.name for configured in catalog.streams}, TimeRange.of(config).lookback
        if state == self._given_state and asked == self._of_state:
            return self._state
        return usable_state(state, *asked)

    @staticmethod
    def read_config(config_path: str) -> dict[str, Any]:
        """Return the configuration in a file.

        :raises UnreadableFileError: if it can't be read, or holds no JSON object
        """
        config = read_json(config_path)
        if not isinstance(config, dict):
            raise UnreadableFileError("It holds no JSON object.")
        return config

    @classmethod
    def read_catalog(cls, catalog_path: str) -> ConfiguredAirbyteCatalog:
        """Return the configured catalog in a file.

        :raises UnreadableFileError: if it can't be read
        """
        catalog: ConfiguredAirbyteCatalog = ConfiguredAirbyteCatalogSerializer.load(read_json(catalog_path))
        return catalog

    @classmethod
    def read_state(cls, state_path: str) -> list[AirbyteStateMessage]:
        """Return the state messages in a file; none without a file.

        :raises UnreadableFileError: if it can't be read
        """
        states = (
            [AirbyteStateMessageSerializer.load(state) for state in read_json(state_path) or []] if state_path else []
        )
        if any(not (state.stream or state.global_ or state.data) for state in states):
            raise ValueError("a state message without a state")
        return states

    def configure(self, config: Mapping[str, Any], temp_dir: str) -> Mapping[str, Any]:  # noqa: ARG002  # the CDK's signature
        """Return the configuration without what is empty, which the CDK would take for invalid.

        It is written nowhere: a process that is killed would leave the token behind.
        """
        return without_empty(config, _config_schema())


def _config_schema() -> dict[str, Any]:
    schema: dict[str, Any] = load_manifest()["spec"]["connection_specification"]
    return schema


def _refuse_repeated(catalog: ConfiguredAirbyteCatalog) -> None:
    names = Counter(configured.stream.name for configured in catalog.streams)
    if repeated := sorted(name for name, times in names.items() if times > 1):
        raise AirbyteTracedException(
            message=f"The catalog names a stream more than once: {', '.join(repeated)}. Its records "
            "would stand there as often. Name each stream once.",
            internal_message="a stream stands twice in the configured catalog",
            failure_type=FailureType.config_error,
        )


class _ClosableQueue(Queue[Any]):
    """The CDK's queue between the threads that read and the one that hands on; once closed it takes nothing more.

    Why: a caller may leave a read before its end. A thread that waited for room would keep the interpreter from ending.
    """

    _closed = False

    def put(self, item: Any, block: bool = True, timeout: float | None = None) -> None:  # noqa: FBT001, FBT002  # Queue's
        """Put an item, as soon as there is room.

        :raises RuntimeError: once the queue is closed
        """
        while not self._closed:
            try:
                return super().put(item, block, 1.0 if timeout is None else timeout)
            except Full:
                if timeout is not None or not block:
                    raise
        raise RuntimeError("the output was closed before the end of the sync")

    def close(self) -> None:
        """Take nothing more."""
        self._closed = True


class _Engine:
    """Makes the streams of one command, and reads them on the CDK's concurrent core.

    Seams: ``ConcurrentSource``, which reads streams, and ``DefaultStream``, which is one; both take whatever makes
    partitions, and whatever keeps the state.

    :param config: a valid configuration
    :param backlog: as that of :class:`SourceCommonroom`
    """

    def __init__(
        self,
        config: Mapping[str, Any],
        endpoints: Endpoints,
        state: list[AirbyteStateMessage],
        backlog: Backlog | None,
    ) -> None:
        self._config = config
        self.endpoints = endpoints
        self._logger = logging.getLogger("airbyte.SourceCommonroom")
        # The CDK's core counts none of the records in pages ("Read 0 records"); the output logs how many there are.
        self._core_logger = self._logger.getChild("core")
        debug = self._logger.isEnabledFor(logging.DEBUG)
        self._core_logger.setLevel(logging.NOTSET if debug else logging.WARNING)
        self._states = ConnectorStateManager(state=state)
        self._queue = _ClosableQueue(maxsize=_MOST_QUEUED)
        self._messages = ConcurrentMessageRepository(self._queue, InMemoryMessageRepository(Level.INFO))
        self._estimates = Estimates(self._messages)
        self._emit = AsPages(backlog) if backlog else as_records
        self._output_closed = backlog.is_closed if backlog else lambda: False
        self._workers = int(config.get("num_workers", 10))

    def stream(self, row: StreamRow, schema: Mapping[str, Any] | None) -> DefaultStream:
        """Return a stream.

        :param schema: that of the catalog, at a read; None to find out the columns of custom fields
        """
        retriever = self.endpoints.retriever(row)
        if schema and schema.get("properties"):
            retriever.select_columns(schema["properties"])
        slicer: WindowCursor | Lists
        cursor: Cursor
        pages: Pages
        if row.cursor_field:
            slicer = cursor = windows = WindowCursor(
                TimeRange.of(self._config),
                self._states,
                self._messages,
                retriever,
                self._workers,
                self._estimates,
                self._output_closed,
            )
            pages = windows.pages
        else:
            slicer = lists = Lists(
                retriever,
                self.endpoints.slicer(row),
                Counts(retriever, self._estimates.add),
                self._output_closed,
                from_both_ends=self._config.get("walk_from_both_ends", True),
            )
            pages = lists.pages
            cursor = FinalStateCursor(row.name, None, self._messages)
        return DefaultStream(
            partition_generator=PagePartitions(row.name, slicer, pages, retriever.to_records, self._emit),
            name=row.name,
            # At a read the catalog's, because the CDK asks for it with each status, in its main thread.
            json_schema=(lambda: self.endpoints.schema(row)) if schema is None else schema,
            primary_key=list(row.primary_key),
            cursor_field=CursorField(row.cursor_field) if row.cursor_field else None,
            logger=self._logger,
            cursor=cursor,
        )

    def read(self, streams: list[DefaultStream]) -> Iterator[AirbyteMessage]:
        """Yield the messages of a sync."""
        # It would wait for ever for a stream that isn't there.
        if not streams:
            return
        # One thread more than workers: the one that plans the windows of activities waits most of the time.
        threads = self._workers + 1
        pool = ThreadPoolExecutor(threads, thread_name_prefix="workerpool")
        core = ConcurrentSource(
            ThreadPoolManager(pool, self._core_logger),
            self._core_logger,
            message_repository=self._messages,
            queue=self._queue,
            initial_number_partitions_to_generate=threads // 2,
        )
        try:
            yield from core.read(list[AbstractStream](streams))
        finally:
            # At an early end no further list or window is begun, and those that were end.
            pool.shutdown(wait=False, cancel_futures=True)
            self._queue.close()
