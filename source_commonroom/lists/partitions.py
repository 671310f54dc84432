"""The partitions of streams that are read in slices that the CDK's routers can't name."""

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from airbyte_cdk.models import FailureType
from airbyte_cdk.sources.streams.concurrent.partitions.stream_slicer import StreamSlicer
from airbyte_cdk.sources.types import StreamSlice
from airbyte_cdk.utils.traced_exception import AirbyteTracedException

from source_commonroom.api.retriever import PageRetriever, Rows
from source_commonroom.lists.cached import fetch_cached

logger = logging.getLogger("airbyte")


class WholeList(StreamSlicer):
    """One part, which is all there is."""

    def stream_slices(self) -> Iterable[StreamSlice]:
        """Yield the part."""
        yield StreamSlice(partition={}, cursor_slice={})


@dataclass
class EachValue(StreamSlicer):
    """One part for each of some values.

    :param field: what goes into the query
    """

    field: str
    values: Sequence[str]

    def stream_slices(self) -> Iterable[StreamSlice]:
        """Yield the parts."""
        for value in self.values:
            yield StreamSlice(partition={self.field: value}, cursor_slice={})


@dataclass
class ChosenSegments(StreamSlicer):
    """One part for each segment of ``segment_ids``, or all contacts in one if none is chosen."""

    chosen: Sequence[str]
    segments: PageRetriever

    def stream_slices(self) -> Iterable[StreamSlice]:
        """Yield the parts.

        :raises AirbyteTracedException: (config_error) if one isn't a segment of contacts
        """
        chosen = list(dict.fromkeys(self.chosen))
        if not chosen:
            yield StreamSlice(partition={}, cursor_slice={})
            return
        of_contacts = [row.get("id") for row in fetch_cached(self.segments) if row.get("entityType") == "contact"]
        if missing := sorted(segment_id for segment_id in chosen if segment_id not in of_contacts):
            raise AirbyteTracedException(
                message=f"contacts: segment_ids names segments of contacts that don't exist: {', '.join(missing)}. "
                "Correct the configuration; the stream segments lists all segments with their entityType.",
                internal_message="segment_ids holds ids that are no segments of contacts",
                failure_type=FailureType.config_error,
            )
        for segment_id in chosen:
            yield StreamSlice(partition={"segmentId": segment_id}, cursor_slice={})


@dataclass
class EachOf(StreamSlicer):
    """One part for each record of another list.

    Why not ``SubstreamPartitionRouter``: it reads its parent as that stream, whose status is then RUNNING again, at a
    429, after it was COMPLETE; and each stream asks for the list once more. Pinned by
    test_given_a_server_that_fails_every_fifth_request_when_read_then_every_record_comes_once.

    :param partition_field: what the id of its records is called here
    :param number: what the number in the id is called in the path, if it is there
    """

    parents: PageRetriever
    partition_field: str
    number: str = ""

    def stream_slices(self) -> Iterable[StreamSlice]:
        """Yield the parts.

        :raises AirbyteTracedException: as :func:`_refuse_others`
        """
        for row in identified(fetch_cached(self.parents)):
            number = {self.number: str(row["id"]).replace("s_", "")} if self.number else {}
            yield StreamSlice(partition={self.partition_field: row["id"]}, cursor_slice={}, extra_fields=number)
        _refuse_others(self.parents)


def identified(rows: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return the records that have an id, by which another stream can be read."""
    return [row for row in rows if isinstance(row.get("id"), str | int) and row["id"] != ""]


def _refuse_others(parents: PageRetriever) -> None:
    """End a stream that is read by the records of a list, once all else of it is on its way.

    :raises AirbyteTracedException: (transient_error) if one has no id: what belongs to it can't be asked for
    """
    rows = fetch_cached(parents)
    if others := len(rows) - len(identified(rows)):
        # The last part of the address: what the list is.
        listed = parents.requester.get_url().rpartition("/")[2]
        raise AirbyteTracedException(
            message=f"{parents.name}: /{listed} answered {others} of {len(rows)} records without an id, so that what "
            "belongs to them can't be asked for. Run the sync again; if it happens each time, tell Common Room's "
            "support.",
            internal_message=f"/{listed} holds records without an id",
            failure_type=FailureType.transient_error,
        )


@dataclass
class OneObjectType(StreamSlicer):
    """The one part that is a type of objects, if there still is such a type.

    Why not ``ListPartitionRouter``: of a type that is gone the API may list no objects, and COMPLETE would be wrong.

    :param entity: the type's id; empty if the connector has no stream of this name
    """

    entity: str
    object_types: PageRetriever

    def stream_slices(self) -> Iterable[StreamSlice]:
        """Yield the part; also if the types can't be listed, because reading it shows whether it exists.

        :raises AirbyteTracedException: (config_error) if there is no such type, or no such stream
        """
        if not self.entity:
            raise self._gone("this version of the connector has no such stream")
        types = object_types_or_none(self.object_types)
        if types is not None and self.entity not in [row.get("id") for row in types]:
            raise self._gone("its type of custom objects doesn't exist any more in Common Room")
        yield StreamSlice(partition={"objectTypeId": self.entity}, cursor_slice={})

    def _gone(self, reason: str) -> AirbyteTracedException:
        return AirbyteTracedException(
            message=f"{self.object_types.name}: the stream can't be read: {reason}. Refresh the schema of the "
            "connection, or deselect it.",
            internal_message=reason,
            failure_type=FailureType.config_error,
        )


def object_types_or_none(object_types: PageRetriever) -> Rows | None:
    """Return the types of objects; None, with a warning, if they can't be listed: other streams don't need them."""
    try:
        return fetch_cached(object_types)
    except AirbyteTracedException as error:
        logger.warning("The types of custom objects can't be listed. %s", error.message)
        return None


@dataclass
class SegmentMembers(StreamSlicer):
    """One part for each segment of contacts, and one for each segment and type of objects.

    Why not ``SubstreamPartitionRouter``: which list the members are in depends on the segment's ``entityType``, and
    objects are listed by type, which a segment doesn't name. Members of organizations' segments can't be listed.

    :param object_types: retrieves all types of objects; only if there is a segment of objects
    """

    segments: PageRetriever
    object_types: PageRetriever

    def stream_slices(self) -> Iterable[StreamSlice]:
        """Yield the parts, those of contacts first, so that they are read even if types can't be listed.

        :raises AirbyteTracedException: as :func:`_refuse_others`
        """
        of_objects = []
        for segment in identified(fetch_cached(self.segments)):
            if segment.get("entityType") == "contact":
                yield _members("contacts", "contact", {"segmentId": segment["id"]})
            elif segment.get("entityType") != "organization":
                of_objects.append(segment["id"])
        types = [row["id"] for row in identified(fetch_cached(self.object_types))] if of_objects else []
        for segment_id in of_objects:
            for type_id in types:
                yield _members("objects", "object", {"objectTypeId": type_id, "segmentId": segment_id})
        _refuse_others(self.segments)
        if of_objects:
            _refuse_others(self.object_types)


def _members(endpoint: str, member_type: str, partition: Mapping[str, Any]) -> StreamSlice:
    return StreamSlice(
        partition=partition, cursor_slice={}, extra_fields={"endpoint": endpoint, "memberType": member_type}
    )
