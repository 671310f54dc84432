"""What every stream asks for and brings, as the tests expect it. ``STREAMS`` drives the tests of all streams."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from airbyte_cdk.models import (
    AirbyteStream,
    ConfiguredAirbyteCatalog,
    ConfiguredAirbyteStream,
    DestinationSyncMode,
    SyncMode,
)

from integration_tests.sandbox import ENDPOINTS, Api, Request, Workspace
from integration_tests.sandbox.misfits import SPARED, is_spoilt

CUSTOM_FIELDS = "cf_*"
Records = list[dict[str, Any]]


@dataclass(frozen=True)
class Stream:
    """A row of ``STREAMS``."""

    name: str
    path: str
    """The endpoint, below the API's address; a regular expression but for ``{id}``."""
    collection: str
    """Where the sandbox's workspace keeps the records."""
    primary_key: tuple[str, ...] = ("id",)
    cursor_field: str | None = None
    columns: frozenset[str] = frozenset()
    """What ``cols`` has to ask for: every optional column of the OpenAPI."""
    paged: bool = True
    sorted_by: str | None = None
    """What it has to ask to be sorted by, upwards or downwards."""
    asks: frozenset[str] = frozenset()
    """What else a request names."""
    adds: frozenset[str] = frozenset()
    """What the connector adds to a record."""
    records: Callable[[Workspace], Records] | None = None
    """Makes the records where they are no collection."""

    def configured(self) -> ConfiguredAirbyteStream:
        """Make the stream's entry in a configured catalog, of all columns."""
        return ConfiguredAirbyteStream(
            stream=AirbyteStream(
                name=self.name,
                json_schema={"type": "object"},
                supported_sync_modes=[SyncMode.full_refresh, *([SyncMode.incremental] if self.cursor_field else [])],
            ),
            sync_mode=SyncMode.incremental if self.cursor_field else SyncMode.full_refresh,
            destination_sync_mode=DestinationSyncMode.append,
            cursor_field=[self.cursor_field] if self.cursor_field else None,
        )

    def requests(self, api: Api) -> list[Request]:
        """List the pages that the stream has asked for, of an API that served it alone."""
        path = re.compile(self.path.replace("{id}", "[0-9]+"))
        found = sorted({request.path for request in api.log.requests if path.fullmatch(request.path)})
        return [request for each in found for request in api.log.pages(each)]


STREAMS = (
    Stream(
        name="contacts",
        path="/v2/contacts",
        collection="contacts",
        columns=frozenset(
            {
                "activateMessage",
                "avatarUrl",
                "companyName",
                "companyWebsite",
                "connectedCustomObjects",
                "fullName",
                "jobHistory",
                "leadScores",
                "location",
                "phoneNumbers",
                "primaryEmail",
                "profiles",
                "recentActivities",
                "recentSparkSummaries",
                "recentWebPages",
                "recentWebVisitsNumber",
                "segments",
                "sparkSummary",
                "tags",
                "title",
                "url",
                CUSTOM_FIELDS,
            }
        ),
        sorted_by="id",
    ),
    Stream(
        name="organizations",
        path="/v2/organizations",
        collection="organizations",
        columns=frozenset(
            {
                "about",
                "contactsCount",
                "employees",
                "leadScores",
                "linkedInUrl",
                "location",
                "profiles",
                "recentJobOpenings",
                "recentNews",
                "researchResults",
                "revenueRangeMax",
                "revenueRangeMin",
                "subIndustry",
                "surgingTopics",
                "tags",
                "topContacts",
                "url",
                CUSTOM_FIELDS,
            }
        ),
        sorted_by="id",
    ),
    Stream(
        name="activities",
        path="/v2/activities",
        collection="activities",
        cursor_field="activityTime",
        columns=frozenset(
            {
                "contactId",
                "content",
                "isUserInitiated",
                "participantCount",
                "providerId",
                "providerName",
                "replyCount",
                "sentiment",
                "subSourceNames",
                "url",
            }
        ),
        sorted_by="activityTime",
    ),
    Stream(
        name="prospector_contacts",
        path="/v2/prospector-contacts",
        collection="prospector_contacts",
        columns=frozenset(
            {
                "avatarUrl",
                "companyName",
                "companyWebsite",
                "fullName",
                "linkedInFollowerCount",
                "linkedInHandle",
                "location",
                "role",
                "seniority",
                "skills",
                "title",
            }
        ),
        sorted_by="id",
    ),
    Stream(
        name="prospector_companies",
        path="/v2/prospector-companies",
        collection="prospector_companies",
        columns=frozenset(
            {
                "description",
                "employees",
                "linkedInHandles",
                "location",
                "logoUrl",
                "primaryWebsite",
                "raised",
                "revenueRange",
                "subIndustry",
                "technologies",
            }
        ),
        sorted_by="id",
    ),
    Stream(
        name="objects",
        path="/v2/objects",
        collection="objects",
        columns=frozenset({"recordKey", CUSTOM_FIELDS}),
        adds=frozenset({"objectTypeId"}),
        sorted_by="id",
    ),
    Stream(
        name="website_visits",
        path="/v2/website-visits",
        collection="website_visits",
        columns=frozenset({"url", "contactId", "organizationId"}),
    ),
    Stream(name="segments", path="/v2/segments", collection="segments", columns=frozenset({"entityCount", "url"})),
    Stream(name="tags", path="/v2/tags", collection="tags"),
    Stream(name="custom_fields", path="/v2/custom-fields", collection="custom_fields", paged=False),
    Stream(name="activity_types", path="/v2/activity-types", collection="activity_types", paged=False),
    Stream(name="activity_categories", path="/v2/activity-categories", collection="activity_categories", paged=False),
    Stream(name="activity_sentiment", path="/v2/activity-sentiment", collection="activity_sentiment", paged=False),
    Stream(name="lead_scores", path="/v2/lead-scores", collection="lead_scores", paged=False),
    Stream(name="locations", path="/v2/locations", collection="locations", asks=frozenset({"locationType"})),
    Stream(name="topics", path="/v2/topics", collection="topics"),
    Stream(name="providers", path="/v2/providers", collection="providers"),
    Stream(name="object_types", path="/v2/object-types", collection="object_types", paged=False),
    Stream(name="industries", path="/v2/industries", collection="industries"),
    Stream(name="tech_stack_products", path="/v2/tech-stack-products", collection="tech_stack_products"),
    Stream(name="me", path="/v2/me", collection="me", paged=False),
    Stream(
        name="segment_members",
        path="/v2/(contacts|objects)",
        collection="",
        primary_key=("segmentId", "memberId"),
        asks=frozenset({"segmentId"}),
        records=Workspace.segment_members,
    ),
    Stream(
        name="segment_statuses",
        path="/v1/segments/{id}/status",
        collection="segment_statuses",
        primary_key=("segmentId", "id"),
        paged=False,
        adds=frozenset({"segmentId"}),
    ),
    Stream(
        name="contact_custom_fields", path="/v1/members/customFields", collection="contact_custom_fields", paged=False
    ),
    Stream(name="user_defined_tags", path="/v1/tags", collection="user_defined_tags", paged=False),
    Stream(
        name="api_token_status", path="/v2/api-token-status", collection="api_token", primary_key=("jti",), paged=False
    ),
)
BY_NAME = {stream.name: stream for stream in STREAMS}


def catalog(*names: str) -> ConfiguredAirbyteCatalog:
    """Make a configured catalog of the streams named, or of all."""
    return ConfiguredAirbyteCatalog(
        streams=[stream.configured() for stream in STREAMS if not names or stream.name in names]
    )


def selecting(stream: AirbyteStream, *columns: str) -> ConfiguredAirbyteCatalog:
    """Make a configured catalog of a stream that was discovered, with some of its columns selected, or all."""
    schema = dict(stream.json_schema)
    if columns:
        schema["properties"] = {name: node for name, node in schema["properties"].items() if name in columns}
    return ConfiguredAirbyteCatalog(
        streams=[
            ConfiguredAirbyteStream(
                stream=replace(stream, json_schema=schema),
                sync_mode=SyncMode.full_refresh,
                destination_sync_mode=DestinationSyncMode.overwrite,
            )
        ]
    )


def by_key(stream: Stream, records: Records) -> Records:
    """Order records by their primary key, duplicates kept, less the columns for custom fields.

    Those have tests of their own, and the streams of one type of objects too: test_custom_fields.py.
    """
    plain = [
        {column: value for column, value in record.items() if not column.startswith("custom_")} for record in records
    ]
    return sorted(plain, key=lambda record: [str(record[column]) for column in stream.primary_key])


def complete(stream: Stream, workspace: Workspace) -> Records:
    """List what a complete read of a stream brings from a workspace, by primary key."""
    if stream.records:
        return by_key(stream, stream.records(workspace))
    endpoint = ENDPOINTS[stream.path]
    columns = {*endpoint.always, *endpoint.on_request, *stream.adds, "customFields"}
    # The sandbox keeps more beside some records than the API answers.
    rows = workspace.records(stream.collection)
    return by_key(stream, [{column: row[column] for column in row if column in columns} for row in rows])


def expected(stream: Stream, workspace: Workspace) -> Records:
    """List the same as the CDK's own entry point has it in process: less the columns that are null."""
    return [
        {column: value for column, value in record.items() if value is not None}
        for record in complete(stream, workspace)
    ]


def nulled_of(stream: Stream, record: Mapping[str, Any]) -> set[str]:
    """Return the names of the columns of a record that a sandbox with misfits spoils."""
    # The type of a segment's members is that of the segment.
    kept = SPARED | stream.adds | {*stream.primary_key, "memberType"}
    return set(record) - kept if is_spoilt({"id": record[stream.primary_key[-1]]}) else set()
