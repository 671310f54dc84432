"""The endpoints, one row each: what they answer and which parameters they take.

To add an endpoint, add its row to `ENDPOINTS` and its records to what `generate.generate` answers, under the
name of the collection. All facts are from the provider's OpenAPI description of v2.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from integration_tests.sandbox.workspace import number_of

if TYPE_CHECKING:
    from integration_tests.sandbox.messages import Record
    from integration_tests.sandbox.workspace import Workspace


class InvalidParametersError(Exception):
    """The request isn't one that the API documents; the message says why."""


Condition = Callable[["Record"], bool]
Filter = Callable[["Workspace", str], Condition]
"""Makes the condition that a parameter's value puts on the records."""

SortKey = Callable[["Record"], str | int]


@dataclass(frozen=True)
class Endpoint:
    """A path and its strictness. What a row doesn't name, the endpoint refuses."""

    path: str
    collection: str
    always: tuple[str, ...]
    """The columns that every record carries."""
    on_request: tuple[str, ...] = ()
    """The columns that `cols` may ask for."""
    custom_fields_of: str | None = None
    """The type of entity whose custom fields `cols` may ask for, as `cf_*` or `cf_<number>`."""
    counts: bool = False
    """Whether `cols` may ask for `recordCount`."""
    filters: Mapping[str, Filter] = field(default_factory=dict)
    dated_by: str | None = None
    """The column that `startDate` and `endDate` bound."""
    sorts: tuple[str, ...] = ()
    """What `sort` may say, the default first; an endpoint without is ordered by id and takes no `direction`."""
    paged: bool = True
    enveloped: bool = True
    """Whether records come as `data` of `{"success": true}`; without it, the first record is the answer."""

    @property
    def parameters(self) -> set[str]:
        """The query parameters it takes."""
        groups = (
            (self.paged, {"limit", "cursor"}),
            (self.on_request or self.custom_fields_of or self.counts, {"cols"}),
            (self.sorts, {"sort", "direction"}),
            (self.dated_by, {"startDate", "endDate"}),
        )
        return set(self.filters).union(*(names for applies, names in groups if applies))


def check_id(prefix: str, value: str) -> str:
    """Let a prefixed id pass, and nothing else."""
    if not re.fullmatch(rf"{prefix}_[0-9]+", value):
        raise InvalidParametersError(f"{value!r} is no id of the form {prefix}_<number>")
    return value


def equal(column: str) -> Filter:
    """Filter by a column's exact value."""
    return lambda _, value: lambda record: bool(record.get(column) == value)


def containing(column: str) -> Filter:
    """Filter by a part of a column's text, whatever its case."""
    return lambda _, value: lambda record: value.casefold() in record[column].casefold()


def by_contact(_: Workspace, value: str) -> Condition:
    """Keep what belongs to a contact."""
    contact_id = check_id("c", value)
    return lambda record: bool(record.get("contactId") == contact_id)


def in_segment(_: Workspace, value: str) -> Condition:
    """Keep the members of a segment."""
    segment_id = check_id("s", value)
    return lambda record: any(segment["id"] == segment_id for segment in record.get("segments", ()))


def employed_by(workspace: Workspace, value: str) -> Condition:
    """Keep the contacts of an organization: those whose website is its domain, as they carry no id of it."""
    organization_id = check_id("o", value)
    domains = {row["primaryDomain"] for row in workspace.records("organizations") if row["id"] == organization_id}
    return lambda contact: contact.get("companyWebsite") in domains


def by_employee_of(workspace: Workspace, value: str) -> Condition:
    """Keep what belongs to the contacts of an organization."""
    employed = employed_by(workspace, value)
    contact_ids = {contact["id"] for contact in workspace.records("contacts") if employed(contact)}
    return lambda record: record.get("contactId") in contact_ids


def of_entity_type(_: Workspace, value: str) -> Condition:
    """Keep the custom fields of contacts, of organizations, or of a type of custom objects."""
    if value in {"contact", "organization"}:
        return lambda custom_field: value in custom_field["entityTypes"]
    object_type_id = check_id("cot", value)
    return lambda custom_field: bool(custom_field.get("objectTypeId") == object_type_id)


def _by_latest_activity(workspace: Workspace) -> SortKey:
    """Order contacts by the time of their latest activity, those without any first."""
    latest: dict[str, str] = {}
    for activity in workspace.records("activities"):
        actor = activity.get("contactId", "")
        latest[actor] = max(latest.get(actor, ""), activity["activityTime"])
    return lambda contact: latest.get(contact["id"], "")


SORT_KEYS: Mapping[str, Callable[[Workspace], SortKey]] = {
    "id": lambda _: lambda record: number_of(record["id"]),
    "activityTime": lambda _: lambda activity: str(activity["activityTime"]),
    "name": lambda _: lambda record: str(record["name"]),
    "member_count": lambda _: lambda organization: organization.get("contactsCount") or 0,
    "latest_activity": _by_latest_activity,
}

ENDPOINTS: Mapping[str, Endpoint] = {
    endpoint.path: endpoint
    for endpoint in (
        Endpoint(
            path="/v2/api-token-status",
            collection="api_token",
            always=("jti", "communityName", "communityId"),
            paged=False,
            enveloped=False,
        ),
        Endpoint(
            path="/v2/contacts",
            collection="contacts",
            always=("id", "name"),
            on_request=(
                "activateMessage",
                "avatarUrl",
                "fullName",
                "location",
                "primaryEmail",
                "phoneNumbers",
                "title",
                "companyName",
                "companyWebsite",
                "connectedCustomObjects",
                "profiles",
                "jobHistory",
                "leadScores",
                "recentActivities",
                "recentWebPages",
                "recentWebVisitsNumber",
                "segments",
                "sparkSummary",
                "recentSparkSummaries",
                "tags",
                "url",
            ),
            custom_fields_of="contact",
            counts=True,
            filters={"organizationId": employed_by, "segmentId": in_segment},
            sorts=("id", "latest_activity", "name"),
        ),
        Endpoint(
            path="/v2/organizations",
            collection="organizations",
            always=("id", "name", "primaryDomain"),
            on_request=(
                "about",
                "contactsCount",
                "employees",
                "linkedInUrl",
                "profiles",
                "revenueRangeMax",
                "revenueRangeMin",
                "subIndustry",
                "location",
                "leadScores",
                "recentJobOpenings",
                "recentNews",
                "researchResults",
                "surgingTopics",
                "tags",
                "topContacts",
                "url",
            ),
            custom_fields_of="organization",
            counts=True,
            filters={"name": equal("name"), "primaryDomain": equal("primaryDomain")},
            sorts=("id", "member_count"),
        ),
        Endpoint(
            path="/v2/activities",
            collection="activities",
            always=("id", "type", "activityTime"),
            on_request=(
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
            ),
            counts=True,
            filters={"contactId": by_contact, "organizationId": by_employee_of},
            dated_by="activityTime",
            sorts=("activityTime", "id"),
        ),
        Endpoint(
            path="/v2/activity-types",
            collection="activity_types",
            always=("id", "displayName"),
            paged=False,
        ),
        Endpoint(
            path="/v2/segments",
            collection="segments",
            always=("id", "name", "entityType"),
            on_request=("entityCount", "url"),
            counts=True,
            filters={"query": containing("name")},
        ),
        Endpoint(
            path="/v2/tags",
            collection="tags",
            always=("id", "name", "description", "entityTypes"),
        ),
        Endpoint(
            path="/v2/custom-fields",
            collection="custom_fields",
            always=(
                "id",
                "name",
                "entityTypes",
                "keyField",
                "valueType",
                "sampleValues",
                "description",
                "targetSubTypes",
                "providedBy",
                "objectTypeId",
            ),
            filters={"entityType": of_entity_type},
            paged=False,
        ),
    )
}
