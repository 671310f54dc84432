"""The source: the manifest, and what the CDK asks of Python."""

import logging
import pkgutil
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Any

from airbyte_cdk.models import (
    AirbyteCatalog,
    AirbyteConnectionStatus,
    AirbyteMessage,
    AirbyteStateMessage,
    AirbyteStateMessageSerializer,
    ConfiguredAirbyteCatalog,
    ConfiguredAirbyteCatalogSerializer,
    FailureType,
    Status,
)
from airbyte_cdk.sources.declarative.concurrent_declarative_source import ConcurrentDeclarativeSource
from airbyte_cdk.sources.declarative.parsers.manifest_component_transformer import ManifestComponentTransformer
from airbyte_cdk.sources.declarative.parsers.manifest_reference_resolver import ManifestReferenceResolver
from airbyte_cdk.sources.streams.concurrent.abstract_stream import AbstractStream
from airbyte_cdk.sources.streams.concurrent.cursor import ConcurrentCursor
from airbyte_cdk.sources.streams.concurrent.default_stream import DefaultStream
from airbyte_cdk.utils.traced_exception import AirbyteTracedException
from airbyte_cdk.utils.yaml_loader import safe_load_yaml

from source_commonroom import components
from source_commonroom.check import Probe, ask_for_each, refusal_of, sentence_of_expiry, status_of
from source_commonroom.components.counts import Counts
from source_commonroom.components.once import forget_rows
from source_commonroom.components.routers import object_types_or_none
from source_commonroom.components.walk import PageRetriever
from source_commonroom.config import validate_config, without_empty
from source_commonroom.cursor import WindowCursor
from source_commonroom.estimates import Estimates
from source_commonroom.files import UnreadableFileError, read_json
from source_commonroom.lists import Lists
from source_commonroom.objects import name_streams, type_of
from source_commonroom.output import Backlog
from source_commonroom.partitions import AsPages, PagePartitions, Pages, as_records
from source_commonroom.state import usable_state

# The manifest names its components as a manifest-only connector does; here they are a module of the package.
sys.modules.setdefault("source_declarative_manifest.components", components)


def load_manifest() -> dict[str, Any]:
    """Return ``manifest.yaml`` as it is written, references unresolved."""
    text = pkgutil.get_data(__package__, "manifest.yaml")
    assert text is not None, "a package without its manifest"  # noqa: S101  # for the type checker; the build includes it
    manifest: dict[str, Any] = safe_load_yaml(text)
    return manifest


def _refuse_repeated(catalog: ConfiguredAirbyteCatalog) -> None:
    names = Counter(configured.stream.name for configured in catalog.streams)
    if repeated := sorted(name for name, times in names.items() if times > 1):
        raise AirbyteTracedException(
            message=f"The catalog names a stream more than once: {', '.join(repeated)}. Its records "
            "would stand there as often. Name each stream once.",
            internal_message="a stream stands twice in the configured catalog",
            failure_type=FailureType.config_error,
        )


def _retriever_of(stream: AbstractStream) -> PageRetriever:
    # The CDK offers no seam here either.
    generator: Any = stream._stream_partition_generator  # type: ignore[attr-defined]  # noqa: SLF001
    retriever: PageRetriever = generator._partition_factory._retriever  # noqa: SLF001
    return retriever


def _probe_of(stream: AbstractStream) -> Probe:
    generator: Any = stream._stream_partition_generator  # type: ignore[attr-defined]  # noqa: SLF001  # as above
    return Probe(_retriever_of(stream), generator._stream_slicer)  # noqa: SLF001


# How long a request is tried that fails, in seconds, where a person waits for the schemas.
_PATIENCE_WITHOUT_A_CATALOG = 30
# What all streams of one type of objects share.
_OF_OBJECTS = {"endpoint": "objects", "both_ends": True, "cols": "recordKey,cf_*"}


class SourceCommonroom(ConcurrentDeclarativeSource):
    """A Common Room workspace as an Airbyte source, as ``manifest.yaml`` declares it.

    :param catalog: the configured catalog of a read; None for spec, check and discover
    :param config: the configuration, as spec describes it; None for spec
    :param state: the state of the last sync, one message a stream
    :param backlog: where the messages of a read go to a :class:`~source_commonroom.output.PageEntrypoint`, its backlog,
        and each page is one message then; without it, every record is one, as in any Airbyte source
    :raises AirbyteTracedException: (config_error) where the configuration isn't valid, or the state can't be read
    """

    def __init__(
        self,
        catalog: ConfiguredAirbyteCatalog | None = None,
        config: Mapping[str, Any] | None = None,
        state: list[AirbyteStateMessage] | None = None,
        backlog: Backlog | None = None,
    ) -> None:
        manifest = load_manifest()
        if catalog is None:
            manifest["definitions"]["requester"]["patience_in_seconds"] = _PATIENCE_WITHOUT_A_CATALOG
        else:
            _refuse_repeated(catalog)
            # Each stream costs some 20 ms, whether it is read or not.
            wanted = {configured.stream.name for configured in catalog.streams}
            manifest["streams"] = [row for row in manifest["streams"] if row["$parameters"]["name"] in wanted]
        # Here, and not where the CDK does it, because its constructor already works with the configuration.
        if isinstance(config, Mapping):
            config = without_empty(config, manifest["spec"]["connection_specification"])
        if config is not None:
            validate_config(config, manifest["spec"]["connection_specification"])
        streams = None if catalog is None else {configured.stream.name for configured in catalog.streams}
        lookback = timedelta(days=(config or {}).get("lookback_window_days", 3))
        state = usable_state(state or [], streams, lookback)
        super().__init__(catalog=catalog, config=config, state=state, source_config=manifest)
        # What read and discover know before they build the streams.
        self._object_streams: list[tuple[str, str]] = []
        self._schemas: dict[str, Mapping[str, Any]] = {}
        self._emit = AsPages(backlog) if backlog else as_records
        self._retrievers: list[PageRetriever] = []
        self._estimates = Estimates(self._message_repository)
        self._over = backlog.is_closed if backlog else lambda: False

    @property
    def dynamic_streams(self) -> list[dict[str, Any]]:
        """The streams of one type of objects each, as far as this command needs them; see ``objects.py``."""
        if not self._object_streams:
            return []
        streams = [
            {
                "$ref": "#/definitions/object_stream",
                "$parameters": {**_OF_OBJECTS, "name": name, "entity": type_id},
            }
            for name, type_id in self._object_streams
        ]
        manifest = ManifestReferenceResolver().preprocess_manifest({**load_manifest(), "streams": streams})
        made = ManifestComponentTransformer().propagate_types_and_parameters("", manifest, {})["streams"]
        return [dict(stream) for stream in made]

    def streams(self, config: Mapping[str, Any]) -> list[AbstractStream]:
        """Return the streams, made to travel by the page, and activities in planned windows."""
        return [self._by_pages(stream) for stream in super().streams(config)]

    def _by_pages(self, stream: AbstractStream) -> AbstractStream:
        # The CDK offers no seam between its factory, which makes whole streams, and its engine, which reads them.
        assert isinstance(stream, DefaultStream)  # noqa: S101  # the factory makes no others of this manifest
        generator: Any = stream._stream_partition_generator  # noqa: SLF001
        retriever = _retriever_of(stream)
        self._retrievers.append(retriever)
        slicer, cursor = generator._stream_slicer, stream.cursor  # noqa: SLF001
        pages: Pages
        # At a read the catalog's schema, because the CDK asks for it with each status, in its main thread.
        schema = self._schemas.get(stream.name)
        if schema and schema.get("properties"):
            retriever.choose(schema["properties"])
        if isinstance(cursor, ConcurrentCursor):
            workers = int(self._config.get("num_workers", 10))
            slicer = cursor = WindowCursor(
                cursor, self._connector_state_manager, retriever, workers, self._estimates, self._over
            )
            pages = cursor.pages
        else:
            both_ends = self._config.get("walk_from_both_ends", True)
            counts = Counts(retriever, self._estimates.add)
            slicer = Lists(retriever, slicer, counts, self._over, from_both_ends=both_ends)
            pages = slicer.pages
        return DefaultStream(
            partition_generator=PagePartitions(stream.name, slicer, pages, retriever.finish, self._emit),
            name=stream.name,
            json_schema=stream.get_json_schema if schema is None else lambda: schema,
            primary_key=stream._primary_key,  # noqa: SLF001
            cursor_field=stream._cursor_field,  # noqa: SLF001
            logger=stream._logger,  # noqa: SLF001
            cursor=cursor,
        )

    def discover(self, logger: logging.Logger, config: Mapping[str, Any]) -> AirbyteCatalog:
        """Return the catalog: the manifest's streams, and one for each type of objects.

        :raises AirbyteTracedException: where the definitions of custom fields can't be read
        """
        forget_rows()
        (stream,) = (stream for stream in super().streams(self._config) if stream.name == "object_types")
        self._object_streams = list(name_streams(object_types_or_none(_retriever_of(stream)) or []))
        return super().discover(logger, config)

    def read(
        self,
        logger: logging.Logger,
        config: Mapping[str, Any],
        catalog: ConfiguredAirbyteCatalog,
        state: list[AirbyteStateMessage] | None = None,
    ) -> Iterator[AirbyteMessage]:
        """Read the streams of the catalog, whatever its order, the longest chains of pages first.

        The manifest lists them first. Streams in windows come last: the CDK's pool takes work in the order in which it
        comes, and a chain that waits behind windows would end long after them.
        """
        forget_rows()
        if expiry := sentence_of_expiry(self._config["api_token"])[0]:
            logger.warning("%s", expiry)
        self._schemas = {configured.stream.name: configured.stream.json_schema for configured in catalog.streams}
        streams = self.resolved_manifest["streams"]
        rank = {stream["name"]: ("incremental_sync" in stream, place) for place, stream in enumerate(streams)}
        self._object_streams = [(name, type_of(name)) for name in self._schemas if name not in rank]
        of_objects = (False, len(rank))
        ordered = sorted(catalog.streams, key=lambda configured: rank.get(configured.stream.name, of_objects))
        try:
            yield from super().read(logger, config, ConfiguredAirbyteCatalog(streams=ordered), state)
        finally:
            for retriever in self._retrievers:
                retriever.repeats.summarize()

    def check(self, logger: logging.Logger, config: Mapping[str, Any]) -> AirbyteConnectionStatus:  # noqa: ARG002  # the CDK's signature
        """Return SUCCEEDED where the token may read its own status, and say what else it may not read, or until when.

        The CDK's ``CheckStream`` tries for half a minute, and answers with the ``repr`` of "Stream … is not available:
        …"; a person in Airbyte's UI waits for seconds, and gets the sentence alone.
        """
        expiry, over = sentence_of_expiry(self._config["api_token"])
        if over:
            return AirbyteConnectionStatus(status=Status.FAILED, message=expiry)
        forget_rows()
        probes = {stream.name: _probe_of(stream) for stream in super().streams(self._config)}
        (first,) = self.resolved_manifest["check"]["stream_names"]
        if refusal := refusal_of(probes.pop(first)):
            return AirbyteConnectionStatus(status=Status.FAILED, message=refusal)
        return status_of(ask_for_each(list(probes.values())), expiry)

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
        """Return the configuration, and write it nowhere: a process that is killed would leave the token behind."""
        return self._config or config
