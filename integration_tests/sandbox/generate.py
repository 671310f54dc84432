"""The records of a generated workspace: realistic on the whole, awkward in the details.

The awkward details are what has gone wrong in real syncs: equal and neighbouring times, ids with gaps, columns
that are null, empty or absent, numbers that no float holds, labels that repeat, texts in any script.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import accumulate
from random import Random
from typing import TYPE_CHECKING, Any, TypeVar

from integration_tests.sandbox.messages import iso
from integration_tests.sandbox.pools import LOCATIONS, Pools

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from _typeshed import SupportsLenAndGetItem

    from integration_tests.sandbox.messages import Record

T = TypeVar("T")

END = datetime(2026, 6, 30, 12, tzinfo=UTC)
SPAN = timedelta(days=730)
PAGE_END = 200  # the largest page: where a time shared by two rows tells a right cursor from a wrong one
LARGEST_BURST = 450  # an import's activities, all of one moment, are more than two pages of them

APP = "https://app.commonroom.io/community/8p980hdo0"

ACTIVITY_TYPES = (
    ("tweet", "Tweet"),
    ("pr_comment", "Pull request comment"),
    ("github_star", "GitHub ⭐"),
    ("slack_message", "Slack message"),
    ("meeting", "Treffen / 会議"),
    ("website_visit", ""),
    ("newsletter_open", "Newsletter opened"),
    ("7", "A type whose id is a digit"),
)
PROVIDERS = (("sig_1", "GitHub"), ("sig_22", "Slack"), ("sig_23", None), ("sig_1007", "Сообщество"), ("sig_410", ""))
SENTIMENTS = ("positive", "neutral", "negative", None)

CUSTOM_FIELD_LABELS = (
    ("Region", "string", "contact"),
    ("Region", "string", "contact"),
    ("region ", "url", "contact"),
    ("Регион", "string", "contact"),
    ("🔥", "boolean", "contact"),
    ("🔥🔥", "int", "contact"),
    ("ARR (USD)", "number", "contact"),
    ("Renewal date", "date", "contact"),
    ("id", "int", "contact"),
    ("2nd_owner", "string", "contact"),
    ("a" * 200, "string", "contact"),
    ("Tier", "string", "organization"),
    ("Tier", "int", "organization"),
    ("契約日", "date", "organization"),
    ("Homepage (alt.)", "url", "organization"),
    ("Health ❤️ score", "number", "organization"),
    ("קטן", "boolean", "organization"),
    ("", "string", "organization"),
    ("Serial", "int", "object"),
)
OBJECT_TYPE_ID = "cot_31"
AWKWARD_VALUES: dict[str, tuple[Any, ...]] = {
    "int": (0, -1, 2**53 + 1, 2**63 - 1, -(2**63)),
    "number": (0.1, -0.0, 1e-7, 1.5e300, -12.75, 3, 100.0),
    "date": (
        "2024-02-29T00:00:00.000Z",
        "0001-01-01T00:00:00Z",
        "9999-12-31T23:59:59.999Z",
        "2025-03-04T05:06:07+09:00",
    ),
}


@dataclass(frozen=True)
class Sizes:
    """How many records a generated workspace has of each collection."""

    contacts: int = 640
    organizations: int = 230
    activities: int = 3_000
    segments: int = 12
    tags: int = 30


def generate(seed: int, sizes: Sizes) -> dict[str, list[Record]]:
    """Make the collections of a workspace. A new collection is one more entry of the mapping answered here."""
    maker = _Maker(seed)
    custom_fields = maker.custom_fields()
    tags = maker.tags(sizes.tags)
    segments = maker.segments(sizes.segments)
    organizations = maker.organizations(sizes.organizations, custom_fields, tags)
    contacts = maker.contacts(sizes.contacts, custom_fields, tags, segments, organizations)
    activities = maker.activities(sizes.activities, contacts)
    _relate(contacts, organizations, activities, segments)
    return {
        "contacts": contacts,
        "organizations": organizations,
        "activities": activities,
        "segments": segments,
        "tags": tags,
        "custom_fields": custom_fields,
        "activity_types": [{"id": type_id, "displayName": name} for type_id, name in ACTIVITY_TYPES],
    }


def _relate(
    contacts: list[Record], organizations: list[Record], activities: list[Record], segments: list[Record]
) -> None:
    """Fill the columns that tell of another collection, now that all are known; leave out those that are absent."""
    recent: dict[str, list[Record]] = {}
    for activity in sorted(activities, key=lambda row: row["activityTime"], reverse=True):
        thin = {column: activity[column] for column in ("id", "type", "activityTime")}
        if len(rows := recent.setdefault(activity.get("contactId", ""), [])) < 3:
            rows.append(thin)
    staff: dict[str, list[Record]] = {}
    members: dict[str, int] = {}
    for contact in contacts:
        contact["recentActivities"] = recent.get(contact["id"], [])
        staff.setdefault(contact.get("companyWebsite") or "", []).append(contact)
        for segment in contact.get("segments", ()):
            members[segment["id"]] = members.get(segment["id"], 0) + 1
    for organization in organizations:
        people = staff.get(organization["primaryDomain"], [])
        organization["contactsCount"] = len(people) or None
        organization["topContacts"] = [{"id": person["id"], "name": person["name"]} for person in people[:3]]
    for segment in segments:
        if segment["entityType"] == "contact":
            segment["entityCount"] = members.get(segment["id"], 0)


def _activity_times(rng: Random, count: int) -> list[str]:
    """Draw the times of activities over two years, denser towards the end, with every tie that hurts."""
    span = int(SPAN.total_seconds() * 1000)
    offsets = sorted(int(span * rng.random() ** 0.6) for _ in range(count))
    for row in range(0, count - 1, 9):
        offsets[row + 1] = offsets[row]
    for row in range(4, count - 1, 23):
        offsets[row + 1] = offsets[row] + 1
    for row in range(0, count, 31):
        offsets[row] -= offsets[row] % 1000
    for row in range(0, count, 61):
        offsets[row] -= (offsets[row] + 12 * 3_600_000) % 86_400_000
    offsets = sorted(max(offset, 0) for offset in offsets)
    for end in range(PAGE_END, count - 2, 2 * PAGE_END):
        offsets[end - 2 : end + 3] = [offsets[end]] * 5
    middle, burst = count // 2, min(LARGEST_BURST, count // 6)
    offsets[middle : middle + burst] = offsets[middle : middle + 1] * burst
    if count > 1:
        offsets[0], offsets[-1] = 0, span
    rng.shuffle(offsets)
    start = END - SPAN
    return [iso(start + timedelta(milliseconds=offset)) for offset in offsets]


class _Dice(Random):
    """Draws at a third of the cost of Random, with a bias that is below notice: a workspace takes millions of draws."""

    def choice(self, seq: SupportsLenAndGetItem[T]) -> T:
        return seq[int(self.random() * len(seq))]

    def randint(self, a: int, b: int) -> int:
        return a + int(self.random() * (b - a + 1))


class _Maker:
    """Makes records out of pools and a seeded randomness; each method makes a collection."""

    def __init__(self, seed: int) -> None:
        self.rng = _Dice(seed)
        self.pools = Pools.fill(seed)

    def custom_fields(self) -> list[Record]:
        """Make the definitions of custom fields: every type of value, for every type of entity."""
        field_ids = self.ids("cf", len(CUSTOM_FIELD_LABELS), first=12)
        return [
            self.custom_field(field_id, *label) for field_id, label in zip(field_ids, CUSTOM_FIELD_LABELS, strict=True)
        ]

    def tags(self, count: int) -> list[Record]:
        """Make tags, for contacts, organizations and activities."""
        kinds = ("contact", "organization", "activity")
        return [
            self.row(
                {"id": tag_id, "name": self.line()},
                {"description": self.maybe(self.line), "entityTypes": self.rng.sample(kinds, self.rng.randint(0, 3))},
            )
            for tag_id in self.ids("l", count)
        ]

    def segments(self, count: int) -> list[Record]:
        """Make segments, most of them of contacts."""
        return [
            {
                "id": segment_id,
                "name": self.line(),
                "entityType": ("contact", "contact", "organization", "contact", "object")[place % 5],
                "entityCount": self.rng.randint(0, 9_000),
                "url": f"{APP}/segments/{segment_id}",
            }
            for place, segment_id in enumerate(self.ids("s", count, first=7))
        ]

    def organizations(self, count: int, custom_fields: list[Record], tags: list[Record]) -> list[Record]:
        """Make organizations; what tells of their contacts comes with `_relate`."""
        fields = _of_entity(custom_fields, "organization")
        return [self.organization(organization_id, fields, tags) for organization_id in self.ids("o", count)]

    def contacts(
        self,
        count: int,
        custom_fields: list[Record],
        tags: list[Record],
        segments: list[Record],
        organizations: list[Record],
    ) -> list[Record]:
        """Make contacts, most of them of an organization; their activities come with `_relate`."""
        fields = _of_entity(custom_fields, "contact")
        lists = [{"id": row["id"], "name": row["name"]} for row in segments if row["entityType"] == "contact"]
        return [
            self.contact(contact_id, fields, tags, lists, self.maybe(lambda: self.rng.choice(organizations)))
            for contact_id in self.ids("c", count)
        ]

    def activities(self, count: int, contacts: list[Record]) -> list[Record]:
        """Make activities, in an order of ids that isn't the order of time: imports bring old ones late.

        They are made column by column, which is many times faster than row by row.
        """

        def draw(pool: Sequence[T]) -> list[T]:
            return self.rng.choices(pool, k=count)

        activity_ids = list(self.ids("a", count))
        providers = draw(PROVIDERS)
        columns: dict[str, list[Any]] = {
            "id": activity_ids,
            "type": draw([type_id for type_id, _ in ACTIVITY_TYPES]),
            "activityTime": _activity_times(self.rng, count),
            "contactId": draw([contact["id"] for contact in contacts] or ["c_1"]),
            "content": draw([*self.pools.texts, *[None] * (len(self.pools.texts) // 9)]),
            "isUserInitiated": draw((True, False)),
            "participantCount": draw(range(12)),
            "providerId": [provider_id for provider_id, _ in providers],
            "providerName": [name for _, name in providers],
            "replyCount": draw(range(-1, 40)),
            "sentiment": draw(SENTIMENTS),
            "subSourceNames": draw([self.some(self.line, 2) for _ in range(50)]),
            "url": [f"{APP}/activity/{activity_id}" for activity_id in activity_ids],
        }
        rows = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
        optional = tuple(columns)[3:]
        for row, missing in zip(rows, draw([*optional, *[None] * 9 * len(optional)]), strict=True):
            if missing:
                del row[missing]
        return rows

    def custom_field(self, field_id: str, name: str, value_type: str, entity_type: str) -> Record:
        """Make the definition of a custom field."""
        return self.row(
            {
                "id": field_id,
                "name": name,
                "entityTypes": [entity_type],
                "keyField": name == "id",
                "valueType": value_type,
            }
            | ({"objectTypeId": OBJECT_TYPE_ID} if entity_type == "object" else {}),
            {
                "sampleValues": self.some(lambda: self.value(value_type), 2),
                "description": self.maybe(self.line),
                "targetSubTypes": self.some(self.line, 1),
                "providedBy": self.maybe(self.line),
            },
        )

    def organization(self, organization_id: str, fields: list[Record], tags: list[Record]) -> Record:
        """Make an organization."""
        rng = self.rng
        slug = organization_id.replace("_", "-")
        revenue = rng.randint(0, 10**9) * 1000
        return self.row(
            {
                "id": organization_id,
                "name": rng.choice(self.pools.companies),
                "primaryDomain": rng.choice((f"{slug}.example", f"bücher-{slug}.example", f"компания-{slug}.example")),
                "customFields": self.values_of(fields),
            },
            {
                "about": self.maybe(self.text),
                "employees": self.maybe(lambda: rng.randint(0, 400_000)),
                "linkedInUrl": self.maybe(lambda: f"https://www.linkedin.com/company/{slug}"),
                "profiles": self.some(self.company_profile, 2),
                "revenueRangeMax": self.maybe(lambda: revenue * 10),
                "revenueRangeMin": self.maybe(lambda: revenue),
                "subIndustry": self.maybe(self.line),
                "location": rng.choice(LOCATIONS),
                "leadScores": self.some(self.lead_score, 2),
                "recentJobOpenings": self.some(self.job_opening, 2),
                "recentNews": self.some(self.news, 2),
                "researchResults": self.some(self.research_result, 2),
                "surgingTopics": self.some(self.line, 3),
                "tags": self.tag_ids(tags, "organization"),
                "url": f"{APP}/organizations/{organization_id}",
            },
        )

    def contact(
        self, contact_id: str, fields: list[Record], tags: list[Record], lists: list[Record], employer: Record | None
    ) -> Record:
        """Make a contact of `employer`, in some of the segments `lists`."""
        rng = self.rng
        name = rng.choice(self.pools.names)
        slug = contact_id.replace("_", "")
        company = (
            {"companyName": employer["name"], "companyWebsite": employer["primaryDomain"]}
            if employer
            else {"companyName": None, "companyWebsite": None}
        )
        return self.row(
            {"id": contact_id, "name": name, "customFields": self.values_of(fields)},
            {
                "avatarUrl": self.maybe(lambda: f"https://avatars.example/{slug}.png?size=96&v=2"),
                "fullName": self.maybe(lambda: name),
                "location": rng.choice(LOCATIONS),
                "primaryEmail": self.maybe(lambda: f"{slug}+news@mail.example"),
                "phoneNumbers": self.some(
                    lambda: {"type": rng.choice(("work", "")), "value": f"+49 151 {rng.randint(0, 10**7 - 1):07d}"}, 2
                ),
                "title": self.maybe(lambda: rng.choice(self.pools.titles)),
                **company,
                "connectedCustomObjects": self.some(
                    lambda: {"id": f"co_{rng.randint(1, 999)}", "name": self.line(), "objectType": "Deal 💰"}, 2
                ),
                "profiles": self.some(lambda: {"type": rng.choice(("github", "x")), "value": f"{slug}-dev"}, 3),
                "jobHistory": self.some(self.job, 3),
                "leadScores": self.some(self.lead_score, 2),
                "recentWebPages": self.some(
                    lambda: {
                        "url": f"https://docs.example/?q={rng.randint(1, 99)}#top",
                        "numVisits": rng.randint(0, 9),
                    },
                    3,
                ),
                "recentWebVisitsNumber": rng.randint(0, 500),
                "segments": rng.sample(lists, rng.randint(0, min(3, len(lists)))),
                "activateMessage": self.maybe(lambda: {"title": self.line(), "message": self.maybe(self.text)}),
                "sparkSummary": self.maybe(self.text),
                "recentSparkSummaries": self.some(self.text, 2),
                "tags": self.tag_ids(tags, "contact"),
                "url": f"{APP}/members/{contact_id}",
            },
        )

    def company_profile(self) -> Record:
        """Make a profile of an organization."""
        return {
            "name": self.line(),
            "type": self.rng.choice(("x", "crunchbase")),
            "url": self.maybe(lambda: "https://x.example/a%20b?c=d"),
        }

    def lead_score(self) -> Record:
        """Make a score, which is any number."""
        return {
            "scoreId": self.rng.randint(1, 5),
            "score": self.rng.choice((0, -3.5, 0.1 + 0.2, self.rng.random() * 100)),
            "percentile": self.rng.choice((0, 99.9, 100)),
        }

    def job(self) -> Record:
        """Make a job of a contact's history."""
        return {
            "company": self.rng.choice(self.pools.companies),
            "title": self.maybe(lambda: self.rng.choice(self.pools.titles)),
            "startDate": f"{self.rng.randint(1990, 2020)}-09",
            "endDate": self.maybe(lambda: "2024-02-29"),
        }

    def job_opening(self) -> Record:
        """Make a job that an organization offers."""
        return self.row(
            {
                "jobTitle": self.rng.choice(self.pools.titles),
                "url": f"https://jobs.example/{self.rng.randint(1, 10**6)}",
                "firstSeenAt": self.moment(),
                "isClosed": self.rng.random() < 0.5,
                "location": self.maybe(self.line),
            },
            {"jobDescription": self.maybe(self.text)},
        )

    def news(self) -> Record:
        """Make a piece of news on an organization."""
        return {
            "title": self.line(),
            "url": f"https://news.example/{self.rng.randint(1, 10**6)}",
            "publishedAt": self.moment(),
            "category": self.rng.choice(("funding", "launch", "")),
            "articleSentence": self.maybe(self.text),
        }

    def research_result(self) -> Record:
        """Make an answer to a research prompt."""
        return {
            "promptId": f"prompt-{self.rng.randint(1, 9)}",
            "answer": self.text(),
            "isPrimaryPrompt": self.rng.random() < 0.5,
        }

    def tag_ids(self, tags: list[Record], entity_type: str) -> list[str]:
        """Draw the ids of tags that such an entity can carry."""
        fitting = [tag["id"] for tag in tags if entity_type in tag.get("entityTypes", ())]
        return self.rng.sample(fitting, self.rng.randint(0, min(4, len(fitting))))

    def values_of(self, fields: list[Record]) -> Record:
        """Draw values of custom fields; a field without a value isn't in the map."""
        present = (field for field in fields if self.rng.random() < 0.6)
        return {field["id"]: self.value(field["valueType"]) for field in present}

    def value(self, value_type: str) -> Record:
        """Draw a typed value of a custom field, now and then an extreme one."""
        rng = self.rng
        if value_type in AWKWARD_VALUES and rng.random() < 0.25:
            return {"type": value_type, "value": rng.choice(AWKWARD_VALUES[value_type])}
        ordinary: dict[str, Callable[[], Any]] = {
            "string": self.line,
            "url": lambda: f"https://crm.example/{rng.randint(1, 999)}?a=b&c=%20#d",
            "int": lambda: rng.randint(-1_000, 100_000),
            "number": lambda: round(rng.uniform(-1e6, 1e6), 2),
            "date": self.moment,
            "boolean": lambda: rng.random() < 0.5,
        }
        return {"type": value_type, "value": ordinary[value_type]()}

    def row(self, required: Record, optional: Record) -> Record:
        """Make a record, out of which every sixth misses one of its optional columns."""
        missing = self.rng.choice(list(optional)) if self.rng.random() < 1 / 6 else None
        return required | {column: value for column, value in optional.items() if column != missing}

    def ids(self, prefix: str, count: int, *, first: int = 970) -> Iterator[str]:
        """Make ascending ids with gaps. They pass 1000, where an order by text goes wrong."""
        steps = (self.rng.randint(1, 7) for _ in range(count))
        return (f"{prefix}_{first + offset}" for offset in accumulate(steps))

    def maybe(self, make: Callable[[], T]) -> T | None:
        """Make a value, or leave every eighth null."""
        return make() if self.rng.random() < 7 / 8 else None

    def some(self, make: Callable[[], T], most: int) -> list[T]:
        """Make up to `most` values."""
        return [make() for _ in range(self.rng.randint(0, most))]

    def line(self) -> str:
        """Draw a short text."""
        return self.rng.choice(self.pools.lines)

    def text(self) -> str:
        """Draw a text of any length."""
        return self.rng.choice(self.pools.texts)

    def moment(self) -> str:
        """Draw a moment of the two years."""
        return iso(END - SPAN * self.rng.random())


def _of_entity(custom_fields: list[Record], entity_type: str) -> list[Record]:
    """List the definitions that such an entity can carry."""
    return [field for field in custom_fields if entity_type in field["entityTypes"]]
