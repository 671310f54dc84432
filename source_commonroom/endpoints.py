"""The endpoints: what asks for the pages, the slices and the columns of each stream."""

from collections.abc import Callable, Mapping
from typing import Any

from airbyte_cdk.sources.streams.concurrent.partitions.stream_slicer import StreamSlicer

from source_commonroom.api.http import Access, Requester
from source_commonroom.api.retriever import PageRetriever
from source_commonroom.config import PersonalData
from source_commonroom.lists.partitions import (
    ChosenSegments,
    EachOf,
    EachValue,
    OneObjectType,
    SegmentMembers,
    WholeList,
)
from source_commonroom.records.shape import CustomFieldDefinitions, RecordShape, fixed_schema, schema_of
from source_commonroom.table import StreamRow, rows

_LOCATION_TYPES = ("city", "country", "country_region", "world_region")


class Endpoints:
    """Makes what asks the API, stream by stream, of what ``manifest.yaml`` says of each.

    :param config: a valid configuration
    """

    def __init__(self, config: Mapping[str, Any], access: Access) -> None:
        self._config = config
        self._access = access
        self._retrievers: list[PageRetriever] = []

    def retriever(self, row: StreamRow) -> PageRetriever:
        """Return what asks for the pages of a stream."""
        shape = RecordShape(
            row.name,
            fixed_schema(row.schema or row.name),
            self._definitions(row),
            mode=self._config.get("custom_field_columns", "label"),
            personal=PersonalData.of(self._config),
        )
        retriever = PageRetriever(
            requester=self._requester(row.name, row),
            name=row.name,
            page=row.page,
            cols=row.cols,
            expensive=row.expensive,
            counts=row.counts,
            both_ends=row.both_ends,
            # The default order may change: the one that windows are planned by, and checkpoints build on, is asked for.
            order={"sort": row.cursor_field, "direction": "asc"} if row.cursor_field else {},
            field_mapping=row.field_mapping,
            slice_fields=row.slice_fields,
            dedupe_across=row.dedupe_across,
            shape=shape,
            hides_personal_data=self._is_discreet,
        )
        self._retrievers.append(retriever)
        return retriever

    def slicer(self, row: StreamRow) -> StreamSlicer:
        """Return what names the lists that a stream is read in."""
        makes: Mapping[str, Callable[[], StreamSlicer]] = {
            "": WholeList,
            "chosen_segments": lambda: ChosenSegments(
                self._config.get("segment_ids") or [], self._list("segments", row.name)
            ),
            "object_types": lambda: EachOf(self.object_types(row.name), "objectTypeId"),
            "one_object_type": lambda: OneObjectType(row.entity, self.object_types(row.name)),
            "location_types": lambda: EachValue("locationType", _LOCATION_TYPES),
            "segments": lambda: EachOf(self._list("segments", row.name), "segmentId", "segmentNumber"),
            "segment_members": lambda: SegmentMembers(self._list("segments", row.name), self.object_types(row.name)),
        }
        return makes[row.slices]()

    def schema(self, row: StreamRow) -> Mapping[str, Any]:
        """Return the schema of a stream, with a column for each custom field.

        :raises AirbyteTracedException: if their definitions can't be had
        """
        return schema_of(
            row.name, row.schema or row.name, self._definitions(row), self._config.get("custom_field_columns", "label")
        )

    def object_types(self, stream: str) -> PageRetriever:
        """Return what asks for all types of objects.

        :param stream: which stream needs them: messages begin with its name
        """
        return self._list("object_types", stream)

    def summarize(self) -> None:
        """Log how often the same warnings occurred."""
        for retriever in self._retrievers:
            retriever.repeats.summarize()

    @property
    def _is_discreet(self) -> bool:
        return not PersonalData.of(self._config).is_kept

    def _list(self, name: str, stream: str) -> PageRetriever:
        """Return what asks for a list that another stream is read by, without any columns of it."""
        row = rows()[name]
        return PageRetriever(
            requester=self._requester(stream, row),
            name=stream,
            page=row.page,
            counts=row.counts,
            hides_personal_data=self._is_discreet,
        )

    def _definitions(self, row: StreamRow) -> CustomFieldDefinitions | None:
        if not row.entity:
            return None
        fields = rows()["custom_fields"]
        return CustomFieldDefinitions(
            requester=self._requester(row.name, fields),
            name=row.name,
            page=fields.page,
            hides_personal_data=self._is_discreet,
            entity=row.entity,
            object_types=self.object_types(row.name),
        )

    def _requester(self, stream: str, row: StreamRow) -> Requester:
        return Requester(self._access, stream=stream, endpoint=row.endpoint, path=row.path, page=row.page)
