"""The endpoints, one row each: what they answer and which parameters they take.

To add an endpoint, add its row to `ENDPOINTS` and its records to what `generate.generate` answers, under the
name of the collection. All facts are from the provider's OpenAPI descriptions of v2 and v1.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from integration_tests.sandbox.messages import is_at, stored
from integration_tests.sandbox.vocabulary import LOCATION_TYPES, WORLD_REGIONS
from integration_tests.sandbox.workspace import id_key

if TYPE_CHECKING:
    from integration_tests.sandbox.messages import Record
    from integration_tests.sandbox.workspace import Workspace


class InvalidParametersError(Exception):
    """The request isn't one that the API documents; the message says why."""


class NotFoundError(Exception):
    """The path names a record that doesn't exist."""


Condition = Callable[["Record"], bool]
Filter = Callable[["Workspace", str], Condition]
"""Makes the condition that a parameter's value puts on the records."""

SortKey = Callable[["Record"], str | float]

Body = Callable[[list["Record"]], Any]
"""Makes the body of an answer around the records; that of a page gets its `meta` beside."""


def envelope(records: list[Record]) -> Any:
    """Answer the records as `data` of the envelope of v2."""
    return {"success": True, "data": records}


def envelope_of_one(records: list[Record]) -> Any:
    """Answer the one record there is in that envelope."""
    return {"success": True, "data": records[0]}


def bare_record(records: list[Record]) -> Any:
    """Answer the one record there is, and nothing around it."""
    return records[0]


def bare_list(records: list[Record]) -> Any:
    """Answer the list, as v1 does."""
    return records


def labelled(records: list[Record]) -> Any:
    """Answer the tags of v1."""
    return {"labels": records}


@dataclass(frozen=True)
class Endpoint:
    """A path and its strictness. What a row doesn't name, the endpoint refuses.

    `{id}` in a path stands for the id of a record of another collection, and `within` says what it keeps.
    """

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
    required: tuple[str, ...] = ()
    """Those of the filters that a request has to name."""
    within: Filter | None = None
    """The condition that the `{id}` of the path puts on the records, or NotFoundError if there is no such id."""
    dated_by: str | None = None
    """The column that `startDate` and `endDate` bound."""
    sorts: tuple[str, ...] = ()
    """What `sort` may say, the default first; an endpoint without takes no `direction` either."""
    order: str = "id"
    """What an endpoint without `sorts` is ordered by, `descending` or not."""
    descending: bool = False
    paged: bool = True
    body: Body = envelope

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

    def id_in(self, path: str) -> str | None:
        """Tell what stands in a path of this endpoint in the place of `{id}`."""
        before, template, after = self.path.partition("{id}")
        return path.removeprefix(before).removesuffix(after) if template else None


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


def starting(column: str) -> Filter:
    """Filter by the beginning of a column's text, whatever its case."""
    return lambda _, value: lambda record: record[column].casefold().startswith(value.casefold())


def one_of(column: str, values: tuple[str, ...]) -> Filter:
    """Filter by a column that has one of the documented values."""

    def condition(_: Workspace, value: str) -> Condition:
        if value not in values:
            raise InvalidParametersError(f"{column} is one of {', '.join(values)}, not {value!r}")
        return lambda record: bool(record.get(column) == value)

    return condition


def by(column: str, prefix: str) -> Filter:
    """Filter by the id of another record, which stands in a column."""

    def condition(_: Workspace, value: str) -> Condition:
        record_id = check_id(prefix, value)
        return lambda record: bool(record.get(column) == record_id)

    return condition


def in_segment(_: Workspace, value: str) -> Condition:
    """Keep the members of a segment."""
    segment_id = check_id("s", value)
    return lambda record: any(segment["id"] == segment_id for segment in record.get("segments", ()))


def objects_in_segment(workspace: Workspace, value: str) -> Condition:
    """Keep the objects that are members of a segment, of which they themselves carry nothing."""
    segment_id = check_id("s", value)
    members = {row["objectId"] for row in workspace.records("object_memberships") if row["segmentId"] == segment_id}
    return lambda record: record["id"] in members


def of_segment(workspace: Workspace, value: str) -> Condition:
    """Keep what belongs to the segment of a number: in paths of v1, ids have no prefix."""
    segment_id = f"s_{value}"
    if segment_id not in {row["id"] for row in workspace.records("segments")}:
        raise NotFoundError
    return lambda record: bool(record["segmentId"] == segment_id)


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
        latest[actor] = max(latest.get(actor, ""), stored(activity["activityTime"]))
    return lambda contact: latest.get(contact["id"], "")


def _by_members(workspace: Workspace) -> SortKey:
    """Order locations by how many contacts are there."""
    members: Counter[tuple[str, ...]] = Counter()
    for contact in workspace.records("contacts"):
        place = contact.get("location") or {}
        city, region, country = (place.get(column) or "" for column in ("city", "region", "country"))
        members["city", city, region, country] += 1
        members["country_region", region, country] += 1
        members["country", country] += 1
        members["world_region", WORLD_REGIONS.get(country, "")] += 1

    def count(location: Record) -> int:
        place = tuple(location.get(column) or "" for column in ("city", "region", "country"))
        places = {"city": place, "country_region": place[1:], "country": place[2:], "world_region": (location["name"],)}
        return members[location["type"], *places[location["type"]]]

    return count


def _by_text(column: str) -> Callable[[Workspace], SortKey]:
    return lambda _: lambda record: str(record.get(column) or "")


def _by_number(column: str) -> Callable[[Workspace], SortKey]:
    """Order by a number that isn't negative."""
    return lambda _: lambda record: -1 if record.get(column) is None else record[column]


SORT_KEYS: Mapping[str, Callable[[Workspace], SortKey]] = {
    "id": lambda _: lambda record: id_key(record["id"]),
    "activityTime": lambda _: lambda activity: stored(str(activity["activityTime"])),
    "name": _by_text("name"),
    "title": _by_text("title"),
    "seniority": _by_text("seniority"),
    "role": _by_text("role"),
    "linkedInFollowers": _by_number("linkedInFollowerCount"),
    "employeeCount": _by_number("employees"),
    "capitalRaised": _by_number("raised"),
    "members": _by_members,
    "member_count": lambda _: lambda organization: organization.get("contactsCount") or 0,
    "latest_activity": _by_latest_activity,
}
SORTED_BY_OTHERS = {"members", "latest_activity"}
"""Those whose place depends on other records."""

ENDPOINTS: Mapping[str, Endpoint] = {
    endpoint.path: endpoint
    for endpoint in (
        Endpoint(
            path="/v2/api-token-status",
            collection="api_token",
            always=("jti", "communityName", "communityId"),
            paged=False,
            body=bare_record,
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
            filters={"contactId": by("contactId", "c"), "organizationId": by_employee_of},
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
        Endpoint(
            path="/v2/activity-categories",
            collection="activity_categories",
            always=("id", "name", "value"),
            paged=False,
        ),
        Endpoint(
            path="/v2/activity-sentiment",
            collection="activity_sentiment",
            always=("id", "name"),
            paged=False,
        ),
        Endpoint(
            path="/v2/lead-scores",
            collection="lead_scores",
            always=("id", "name", "enabled", "entityType", "isPrimaryScore"),
            paged=False,
        ),
        Endpoint(
            path="/v2/locations",
            collection="locations",
            always=("id", "name", "type", "city", "region", "country"),
            counts=True,
            filters={"locationType": one_of("locationType", LOCATION_TYPES)},
            required=("locationType",),
            order="members",
            descending=True,
        ),
        Endpoint(
            path="/v2/topics",
            collection="topics",
            always=("id", "name"),
            counts=True,
            filters={"query": starting("name")},
            order="name",
        ),
        Endpoint(
            path="/v2/providers",
            collection="providers",
            always=("id", "name", "serviceName"),
        ),
        Endpoint(
            path="/v2/object-types",
            collection="object_types",
            always=("id", "name", "assocs"),
            paged=False,
        ),
        Endpoint(
            path="/v2/objects",
            collection="objects",
            always=("id", "name"),
            on_request=("recordKey",),
            custom_fields_of="object",
            counts=True,
            filters={"objectTypeId": by("objectTypeId", "cot"), "segmentId": objects_in_segment},
            required=("objectTypeId",),
            sorts=("id", "name"),
        ),
        Endpoint(
            path="/v2/website-visits",
            collection="website_visits",
            always=("id", "visitTime", "url"),
            # It may ask for `url` too, though that comes in any case.
            on_request=("url", "contactId", "organizationId"),
            counts=True,
            filters={"contactId": by("contactId", "c"), "organizationId": by("organizationId", "o")},
        ),
        Endpoint(
            path="/v2/prospector-contacts",
            collection="prospector_contacts",
            always=("id", "name"),
            on_request=(
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
            ),
            counts=True,
            sorts=("id", "name", "title", "linkedInFollowers", "seniority", "role"),
        ),
        Endpoint(
            path="/v2/prospector-companies",
            collection="prospector_companies",
            always=("id", "name"),
            on_request=(
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
            ),
            counts=True,
            sorts=("id", "name", "employeeCount", "capitalRaised"),
        ),
        Endpoint(
            path="/v2/industries",
            collection="industries",
            always=("id", "code", "name"),
            filters={"query": containing("name")},
        ),
        Endpoint(
            path="/v2/tech-stack-products",
            collection="tech_stack_products",
            always=("id", "product", "vendor"),
            filters={"query": containing("product")},
        ),
        Endpoint(
            path="/v2/me",
            collection="me",
            always=(
                "id",
                "communityId",
                "name",
                "title",
                "role",
                "loginEmail",
                "profiles",
                "segments",
                "personas",
                "company",
            ),
            paged=False,
            body=envelope_of_one,
        ),
        Endpoint(
            path="/v1/members/customFields",
            collection="contact_custom_fields",
            always=("id", "name", "type", "multivalue", "values"),
            paged=False,
            body=bare_list,
        ),
        Endpoint(
            path="/v1/segments/{id}/status",
            collection="segment_statuses",
            always=("id", "name"),
            within=of_segment,
            paged=False,
            body=bare_list,
        ),
        Endpoint(
            path="/v1/tags",
            collection="user_defined_tags",
            always=("id", "name", "description", "entityTypes", "createdAt", "deletedAt"),
            paged=False,
            body=labelled,
        ),
    )
}


def endpoint_at(path: str) -> Endpoint | None:
    """Find the endpoint of a path, in which an id may stand in the place of `{id}`."""
    if path in ENDPOINTS:
        return ENDPOINTS[path]
    return next((endpoint for endpoint in ENDPOINTS.values() if is_at(endpoint.path, path)), None)
