"""The records of a generated workspace: realistic on the whole, awkward in the details.

The awkward details are what has gone wrong in real syncs: equal and neighbouring times, ids with gaps, columns
that are null, empty or absent, numbers that no float holds, labels that repeat, texts in any script.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from integration_tests.sandbox import directory
from integration_tests.sandbox.custom_fields import CustomFields
from integration_tests.sandbox.directory import table
from integration_tests.sandbox.draw import END, SPAN, Draw
from integration_tests.sandbox.messages import iso
from integration_tests.sandbox.people import make_people, phone
from integration_tests.sandbox.vocabulary import (
    ACTIVITY_CATEGORIES,
    ACTIVITY_SENTIMENT,
    ACTIVITY_TYPES,
    APP,
    IDLE_PROVIDERS,
    LEAD_SCORES,
    OBJECT_TYPES,
    PROVIDERS,
    SENTIMENTS,
)

if TYPE_CHECKING:
    from collections.abc import Sequence
    from random import Random

    from integration_tests.sandbox.messages import Record
    from integration_tests.sandbox.people import Person

__all__ = ["END", "Sizes", "generate"]

T = TypeVar("T")

PAGE_END = 200  # the largest page: where a time shared by two rows tells a right cursor from a wrong one
LARGEST_BURST = 450  # an import's activities, all of one moment, are more than two pages of them
MENTIONED = 20  # so many contacts are mentioned in the texts of activities
SHORT_TEXT = 120  # what is longer isn't embedded

TOP_CONTACTS = (
    ("id", "name", "fullName", "primaryEmail", "phoneNumbers", "avatarUrl", "profiles", "title"),
    ("id", "name", "primaryEmail"),
    ("id", "name"),
)
"""The columns of the contacts embedded in an organization: much of the first one, little of the others."""


@dataclass(frozen=True)
class Sizes:
    """How many records a generated workspace has of a collection. The others have a number of their own."""

    contacts: int = 640
    organizations: int = 230
    activities: int = 3_000
    segments: int = 16
    tags: int = 30
    objects: int = 620
    website_visits: int = 640
    prospector_contacts: int = 450
    prospector_companies: int = 240
    topics: int = 230
    industries: int = 210
    tech_stack_products: int = 260


def generate(seed: int, sizes: Sizes) -> dict[str, list[Record]]:
    """Make the collections of a workspace. A new collection is one more entry of the mapping answered here.

    Append it at the end: what it draws changes all that is drawn after it, and with it what tests and seeds are about.
    """
    draw = Draw(seed)
    people = make_people(draw, sizes.contacts + max(sizes.prospector_contacts, 1))
    customers, strangers = people[: sizes.contacts], people[sizes.contacts :]
    custom_fields = CustomFields(draw, people)
    tags = directory.tags(draw, sizes.tags)
    segments = directory.segments(draw, sizes.segments)
    objects = directory.objects(draw, sizes.objects, custom_fields, people)
    maker = _Maker(draw, custom_fields, tags)
    organizations = maker.organizations(sizes.organizations, people)
    contacts = maker.contacts(customers, organizations, segments, objects)
    activities = maker.activities(sizes.activities, contacts)
    memberships = directory.object_memberships(draw, segments, objects)
    _relate(contacts, organizations, activities)
    _count_members(segments, contacts, memberships)
    return {
        "contacts": contacts,
        "organizations": organizations,
        "activities": activities,
        "segments": segments,
        "tags": tags,
        "custom_fields": custom_fields.definitions,
        "activity_types": table(("id", "displayName"), ACTIVITY_TYPES),
        "activity_categories": table(("id", "name", "value"), ACTIVITY_CATEGORIES),
        "activity_sentiment": table(("id", "name"), ACTIVITY_SENTIMENT),
        "lead_scores": table(("id", "name", "enabled", "entityType", "isPrimaryScore"), LEAD_SCORES),
        "providers": table(("id", "name", "serviceName"), (*PROVIDERS, *IDLE_PROVIDERS)),
        "locations": directory.locations(draw),
        "topics": directory.topics(draw, sizes.topics),
        "object_types": directory.object_types(draw),
        "objects": objects,
        "object_memberships": memberships,
        "website_visits": directory.website_visits(draw, sizes.website_visits, contacts, organizations),
        "prospector_contacts": directory.prospector_contacts(draw, sizes.prospector_contacts, customers, strangers),
        "prospector_companies": directory.prospector_companies(draw, sizes.prospector_companies),
        "industries": directory.industries(draw, sizes.industries),
        "tech_stack_products": directory.tech_stack_products(draw, sizes.tech_stack_products),
        "me": [directory.me(draw, people[0], contacts, segments)],
        "contact_custom_fields": custom_fields.of_contacts_in_v1(),
        "segment_statuses": directory.segment_statuses(draw, segments),
        "user_defined_tags": directory.user_defined_tags(draw, tags),
    }


def _relate(contacts: list[Record], organizations: list[Record], activities: list[Record]) -> None:
    """Fill the columns that tell of another collection, now that all are known; leave out those that are absent."""
    recent: dict[str, list[Record]] = {}
    for activity in sorted(activities, key=lambda row: row["activityTime"], reverse=True):
        if len(rows := recent.setdefault(activity.get("contactId", ""), [])) < 3:
            rows.append(_embedded_activity(activity))
    staff: dict[str, list[Record]] = {}
    for contact in contacts:
        contact["recentActivities"] = recent.get(contact["id"], [])
        staff.setdefault(contact.get("companyWebsite") or "", []).append(contact)
    for organization in organizations:
        people = staff.get(organization["primaryDomain"], [])
        organization["contactsCount"] = len(people) or None
        organization["topContacts"] = [
            {column: person[column] for column in columns if column in person}
            for person, columns in zip(people, TOP_CONTACTS, strict=False)
        ]


def _embedded_activity(activity: Record) -> Record:
    content = activity.get("content")
    columns = ("id", "type", "activityTime", *(["content"] if content and len(content) <= SHORT_TEXT else []))
    return {column: activity[column] for column in columns}


def _count_members(segments: list[Record], contacts: list[Record], memberships: list[Record]) -> None:
    """Tell in the segments how many members they have; who is in those of organizations, nobody is told."""
    members = Counter(segment["id"] for contact in contacts for segment in contact.get("segments", ()))
    members.update(row["segmentId"] for row in memberships)
    for segment in segments:
        if segment["entityType"] != "organization":
            segment["entityCount"] = members[segment["id"]]


def _mention(contact: Record) -> str | None:
    """Write of a contact as people do, by what its own columns say."""
    name, email = contact.get("fullName"), contact.get("primaryEmail")
    if not name or not email:
        return None
    numbers = [number["value"] for number in contact.get("phoneNumbers", ())]
    return f"{name} asks for a call: {', '.join([email, *numbers])}. Danke!"


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


class _Maker:
    """Makes the records that have the most columns; each of the first methods makes a collection."""

    def __init__(self, draw: Draw, custom_fields: CustomFields, tags: list[Record]) -> None:
        self.draw = draw
        self.rng = draw.rng
        self.pools = draw.pools
        self.locations = draw.pools.locations
        self.custom_fields = custom_fields
        self.tags = {
            kind: [tag["id"] for tag in tags if kind in tag.get("entityTypes", ())]
            for kind in ("contact", "organization")
        }
        self.score_ids = {
            kind: [int(row[0].removeprefix("ls_")) for row in LEAD_SCORES if kind in row]
            for kind in ("contact", "organization")
        }

    def organizations(self, count: int, people: list[Person]) -> list[Record]:
        """Make organizations; what tells of their contacts comes with `_relate`."""
        return [
            self.organization(organization_id, self.rng.choice(people)) for organization_id in self.draw.ids("o", count)
        ]

    def contacts(
        self, people: list[Person], organizations: list[Record], segments: list[Record], objects: list[Record]
    ) -> list[Record]:
        """Make contacts, most of them of an organization; their activities come with `_relate`.

        Every other one is in the first segment of contacts, and none is in the last.
        """
        lists = [{"id": row["id"], "name": row["name"]} for row in segments if row["entityType"] == "contact"]
        types = dict(OBJECT_TYPES)
        linked = [{"id": row["id"], "name": row["name"], "objectType": types[row["objectTypeId"]]} for row in objects]
        contacts: list[Record] = []
        for contact_id, person in zip(self.draw.ids("c", len(people)), people, strict=True):
            employer = self.draw.maybe(lambda: self.rng.choice(organizations)) if organizations else None
            contact = self.contact(contact_id, person, employer)
            contact["segments"] = [*self.sample(lists[:1], 1), *self.sample(lists[1:-1], 2)]
            contact["connectedCustomObjects"] = self.sample(linked, 2)
            if len(contacts) % 5 == 0 and (mention := _mention(contact)):
                contact.update(sparkSummary=mention, recentSparkSummaries=[self.draw.text(), mention])
            contacts.append(contact)
        return contacts

    def activities(self, count: int, contacts: list[Record]) -> list[Record]:
        """Make activities, in an order of ids that isn't the order of time: imports bring old ones late.

        They are made column by column, which is many times faster than row by row.
        """

        def draw(pool: Sequence[T]) -> list[T]:
            return self.rng.choices(pool, k=count)

        mentions = [mention for contact in contacts[: 2 * MENTIONED] if (mention := _mention(contact))][:MENTIONED]
        texts = [*self.pools.texts, *mentions]
        activity_ids = list(self.draw.ids("a", count))
        providers = draw(PROVIDERS)
        columns: dict[str, list[Any]] = {
            "id": activity_ids,
            "type": draw([type_id for type_id, _ in ACTIVITY_TYPES]),
            "activityTime": _activity_times(self.rng, count),
            "contactId": draw([contact["id"] for contact in contacts] or ["c_1"]),
            "content": draw([*texts, *[None] * (len(texts) // 9)]),
            "isUserInitiated": draw((True, False)),
            "participantCount": draw(range(12)),
            "providerId": [provider_id for provider_id, _, _ in providers],
            "providerName": [name for _, name, _ in providers],
            "replyCount": draw(range(-1, 40)),
            "sentiment": draw(SENTIMENTS),
            "subSourceNames": draw([self.draw.some(self.draw.line, 2) for _ in range(50)]),
            "url": [f"{APP}/activity/{activity_id}" for activity_id in activity_ids],
        }
        rows = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
        optional = tuple(columns)[3:]
        for row, missing in zip(rows, draw([*optional, *[None] * 9 * len(optional)]), strict=True):
            if missing:
                del row[missing]
        return rows

    def organization(self, organization_id: str, person: Person) -> Record:
        """Make an organization, with custom fields that name a person."""
        draw, rng = self.draw, self.rng
        slug = organization_id.replace("_", "-")
        revenue = rng.randint(0, 10**9) * 1000
        return draw.row(
            {
                "id": organization_id,
                "name": rng.choice(self.pools.companies),
                "primaryDomain": rng.choice((f"{slug}.example", f"bücher-{slug}.example", f"компания-{slug}.example")),
                "customFields": self.custom_fields.values("organization", person),
            },
            {
                "about": draw.maybe(draw.text),
                "employees": draw.maybe(lambda: rng.randint(0, 400_000)),
                "linkedInUrl": draw.maybe(lambda: f"https://www.linkedin.com/company/{slug}"),
                "profiles": draw.some(self.company_profile, 2),
                "revenueRangeMax": draw.maybe(lambda: revenue * 10),
                "revenueRangeMin": draw.maybe(lambda: revenue),
                "subIndustry": draw.maybe(draw.line),
                "location": rng.choice(self.locations),
                "leadScores": self.lead_scores("organization"),
                "recentJobOpenings": draw.some(self.job_opening, 2),
                "recentNews": draw.some(self.news, 2),
                "researchResults": draw.some(self.research_result, 2),
                "surgingTopics": draw.some(draw.line, 3),
                "tags": self.sample(self.tags["organization"], 4),
                "url": f"{APP}/organizations/{organization_id}",
            },
        )

    def contact(self, contact_id: str, person: Person, employer: Record | None) -> Record:
        """Make a contact of `employer`, as yet in no segment and linked to no object."""
        draw, rng = self.draw, self.rng
        company = (
            {"companyName": employer["name"], "companyWebsite": employer["primaryDomain"]}
            if employer
            else {"companyName": None, "companyWebsite": None}
        )
        return draw.row(
            {"id": contact_id, "name": person.name, "customFields": self.custom_fields.values("contact", person)},
            {
                "avatarUrl": draw.maybe(lambda: person.avatar),
                "fullName": draw.maybe(lambda: person.name),
                "location": rng.choice(self.locations),
                "primaryEmail": draw.maybe(lambda: person.email),
                "phoneNumbers": [
                    {"type": rng.choice(("work", "")), "value": number}
                    for number in (person.phone, phone(draw))[: rng.randint(0, 2)]
                ],
                "title": draw.maybe(lambda: rng.choice(self.pools.titles)),
                **company,
                "profiles": self.profiles(person),
                "jobHistory": draw.some(self.job, 3),
                "leadScores": self.lead_scores("contact"),
                "recentWebPages": draw.some(
                    lambda: {
                        "url": f"https://docs.example/?q={rng.randint(1, 99)}#top",
                        "numVisits": rng.randint(0, 9),
                    },
                    3,
                ),
                "recentWebVisitsNumber": rng.randint(0, 500),
                "activateMessage": draw.maybe(lambda: {"title": draw.line(), "message": draw.maybe(draw.text)}),
                "sparkSummary": draw.maybe(draw.text),
                "recentSparkSummaries": draw.some(draw.text, 2),
                "tags": self.sample(self.tags["contact"], 4),
                "url": f"{APP}/members/{contact_id}",
            },
        )

    def company_profile(self) -> Record:
        """Make a profile of an organization."""
        return {
            "name": self.draw.line(),
            "type": self.rng.choice(("x", "crunchbase")),
            "url": self.draw.maybe(lambda: "https://x.example/a%20b?c=d"),
        }

    def profiles(self, person: Person) -> list[Record]:
        """Make profiles of a person: handles, and an address on LinkedIn."""
        values = {"github": person.handle, "x": f"@{person.handle}", "linkedin": person.linked_in}
        return [{"type": kind, "value": values[kind]} for kind in self.sample(tuple(values), 3)]

    def lead_scores(self, entity_type: str) -> list[Record]:
        """Make scores, which are any numbers, of some of the definitions for such an entity."""
        rng = self.rng
        return [
            {
                "scoreId": score_id,
                "score": rng.choice((0, -3.5, 0.1 + 0.2, rng.random() * 100)),
                "percentile": rng.choice((0, 99.9, 100)),
            }
            for score_id in self.sample(self.score_ids[entity_type], 2)
        ]

    def job(self) -> Record:
        """Make a job of a contact's history."""
        return {
            "company": self.rng.choice(self.pools.companies),
            "title": self.draw.maybe(lambda: self.rng.choice(self.pools.titles)),
            "startDate": f"{self.rng.randint(1990, 2020)}-09",
            "endDate": self.draw.maybe(lambda: "2024-02-29"),
        }

    def job_opening(self) -> Record:
        """Make a job that an organization offers."""
        return self.draw.row(
            {
                "jobTitle": self.rng.choice(self.pools.titles),
                "url": f"https://jobs.example/{self.rng.randint(1, 10**6)}",
                "firstSeenAt": self.draw.moment(),
                "isClosed": self.rng.random() < 0.5,
                "location": self.draw.maybe(self.draw.line),
            },
            {"jobDescription": self.draw.maybe(self.draw.text)},
        )

    def news(self) -> Record:
        """Make a piece of news on an organization."""
        return {
            "title": self.draw.line(),
            "url": f"https://news.example/{self.rng.randint(1, 10**6)}",
            "publishedAt": self.draw.moment(),
            "category": self.rng.choice(("funding", "launch", "")),
            "articleSentence": self.draw.maybe(self.draw.text),
        }

    def research_result(self) -> Record:
        """Make an answer to a research prompt."""
        return {
            "promptId": f"prompt-{self.rng.randint(1, 9)}",
            "answer": self.draw.text(),
            "isPrimaryPrompt": self.rng.random() < 0.5,
        }

    def sample(self, pool: Sequence[T], most: int) -> list[T]:
        """Draw up to `most` of a pool, each once."""
        count = self.rng.randint(0, min(most, len(pool)))
        # Random's own way takes ten times as long for one.
        return self.rng.sample(pool, count) if count > 1 else [self.rng.choice(pool) for _ in range(count)]
