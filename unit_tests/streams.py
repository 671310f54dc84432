"""The stream table: what every stream asks for and brings. It drives the tests of all streams."""

from dataclasses import dataclass
from typing import Any

from airbyte_cdk.models import (
    AirbyteStream,
    ConfiguredAirbyteCatalog,
    ConfiguredAirbyteStream,
    DestinationSyncMode,
    SyncMode,
)

from integration_tests.sandbox import Workspace

CUSTOM_FIELDS = "cf_*"


@dataclass(frozen=True)
class Stream:
    """A row of the table."""

    name: str
    path: str
    """The endpoint, below the API's address."""
    collection: str
    """Where the sandbox's workspace keeps the records."""
    primary_key: str = "id"
    cursor_field: str | None = None
    columns: frozenset[str] = frozenset()
    """What ``cols`` has to ask for: every optional column of the OpenAPI."""
    paged: bool = True

    def configured(self) -> ConfiguredAirbyteStream:
        """Make the stream's entry in a configured catalog."""
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
    ),
    Stream(name="segments", path="/v2/segments", collection="segments", columns=frozenset({"entityCount", "url"})),
    Stream(name="tags", path="/v2/tags", collection="tags"),
    Stream(name="custom_fields", path="/v2/custom-fields", collection="custom_fields", paged=False),
    Stream(name="activity_types", path="/v2/activity-types", collection="activity_types", paged=False),
    Stream(
        name="api_token_status", path="/v2/api-token-status", collection="api_token", primary_key="jti", paged=False
    ),
)
BY_NAME = {stream.name: stream for stream in STREAMS}


def catalog(*names: str) -> ConfiguredAirbyteCatalog:
    """Make a configured catalog of the streams named, or of all."""
    return ConfiguredAirbyteCatalog(
        streams=[stream.configured() for stream in STREAMS if not names or stream.name in names]
    )


def by_key(stream: Stream, records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Order records by their primary key, duplicates kept."""
    return sorted(records, key=lambda record: str(record[stream.primary_key]))


def complete(stream: Stream, workspace: Workspace) -> list[dict[str, Any]]:
    """List what a complete read of a stream brings from a workspace, by primary key."""
    return by_key(stream, workspace.records(stream.collection))


def expected(stream: Stream, workspace: Workspace) -> list[dict[str, Any]]:
    """List the same as the CDK's own entry point has it in process: less the columns that are null."""
    return [
        {column: value for column, value in record.items() if value is not None}
        for record in complete(stream, workspace)
    ]
