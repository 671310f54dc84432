"""The collections beside contacts, organizations and activities: objects, visits, prospects, and the lists of words."""

from __future__ import annotations

from base64 import urlsafe_b64encode
from datetime import timedelta
from itertools import product
from typing import TYPE_CHECKING, Any
from uuid import UUID

from integration_tests.sandbox.draw import END, SPAN
from integration_tests.sandbox.messages import iso
from integration_tests.sandbox.pools import LOCATIONS
from integration_tests.sandbox.vocabulary import (
    APP,
    GOODS,
    LOCATION_TYPES,
    OBJECT_TYPES,
    OBJECT_TYPES_IN_USE,
    ROLES,
    SENIORITIES,
    SKILLS,
    STATUSES,
    TECHNOLOGIES,
    TRADES,
    WORLD_REGIONS,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from integration_tests.sandbox.custom_fields import CustomFields
    from integration_tests.sandbox.draw import Draw
    from integration_tests.sandbox.messages import Record
    from integration_tests.sandbox.people import Person

PAGES = ("", "pricing", "docs/q&a", "%D0%BA%D0%BE%D1%84%D0%B5", "a%20b/")
V1_ENTITY_TYPES = {"contact": "member", "organization": "company", "activity": "activity"}


def table(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> list[Record]:
    """Make records of rows."""
    return [dict(zip(columns, row, strict=True)) for row in rows]


def object_types(draw: Draw) -> list[Record]:
    """Make the types of custom objects, two of them with the same name; the last one says nothing of associations."""
    links = (
        {"objectAssocType": "primary", "targetEntity": "Contact", "targetObjectTypeId": None},
        {"objectAssocType": "", "targetEntity": "Organization", "targetObjectTypeId": None},
        {"objectAssocType": "renews", "targetEntity": OBJECT_TYPES[1][1], "targetObjectTypeId": OBJECT_TYPES[1][0]},
    )
    types: list[Record] = [
        {"id": type_id, "name": name, "assocs": draw.rng.sample(links, place % 4)}
        for place, (type_id, name) in enumerate(OBJECT_TYPES)
    ]
    del types[-1]["assocs"]
    return types


def objects(draw: Draw, count: int, custom_fields: CustomFields, people: list[Person]) -> list[Record]:
    """Make custom objects: of each type in use, and most of the first one."""
    types = [*OBJECT_TYPES_IN_USE, *OBJECT_TYPES_IN_USE[:1] * 8]
    made = []
    for place, object_id in enumerate(draw.ids("co", count)):
        type_id = types[place % len(types)]
        required = {
            "id": object_id,
            "name": draw.rng.choice(draw.pools.companies),
            "objectTypeId": type_id,
            "customFields": custom_fields.values(type_id, draw.rng.choice(people)),
        }
        made.append(draw.row(required, {"recordKey": f"crm/{place:05d}"}))
    return made


def object_memberships(draw: Draw, segments: list[Record], objects: list[Record]) -> list[Record]:
    """Put objects into the segments of objects, each of which is of one type."""
    lists = [row["id"] for row in segments if row["entityType"] == "object"]
    return [
        {"id": f"{segment_id}/{row['id']}", "segmentId": segment_id, "objectId": row["id"]}
        for place, segment_id in enumerate(lists)
        for row in objects
        if row["objectTypeId"] == OBJECT_TYPES[place % 2][0] and draw.rng.random() < 0.7
    ]


def segment_statuses(draw: Draw, segments: list[Record]) -> list[Record]:
    """Make the statuses of segments, in v1 with bare numbers; every fourth segment has none."""
    owners = [segment["id"] for place, segment in enumerate(segments) if place % 4 != 2 for _ in range(1 + place % 5)]
    numbers = (int(status_id.removeprefix("st_")) for status_id in draw.ids("st", len(owners)))
    return [
        {"id": number, "name": draw.rng.choice(STATUSES), "segmentId": segment_id}
        for number, segment_id in zip(numbers, owners, strict=True)
    ]


def user_defined_tags(draw: Draw, tags: list[Record]) -> list[Record]:
    """Make what v1 tells of tags: every other one is of users. Their ids have no prefix there."""
    return [
        draw.row(
            {
                "id": tag["id"].removeprefix("l_"),
                "name": tag["name"],
                "entityTypes": [V1_ENTITY_TYPES[kind] for kind in tag.get("entityTypes", ())],
                "createdAt": draw.moment(),
            },
            {"description": tag.get("description"), "deletedAt": None},
        )
        for tag in tags[::2]
    ]


def locations(draw: Draw) -> list[Record]:
    """Make the places that contacts can be at, in the four granularities."""
    places = [place for place in (*LOCATIONS, *draw.pools.cities) if place and place.get("country")]
    by_type: dict[str, list[tuple[str, Record]]] = {
        "city": [(place["city"], dict(place)) for place in places if place.get("city")],
        "country_region": [
            (f"{place['region']}, {place['country']}", {key: place[key] for key in ("region", "country")})
            for place in places
            if place.get("region")
        ],
        "country": [(place["country"], {"country": place["country"]}) for place in places],
        "world_region": [(name, {}) for name in WORLD_REGIONS.values()],
    }
    found = [
        {"name": name, "type": kind, "locationType": kind, **columns}
        for kind in LOCATION_TYPES
        for name, columns in {repr(entry): entry for entry in by_type[kind]}.values()
    ]
    return [{"id": place_id, **row} for place_id, row in zip(draw.ids("loc", len(found)), found, strict=True)]


def topics(draw: Draw, count: int) -> list[Record]:
    """Make topics, in any script."""
    words = draw.pools.words
    names = (f"{draw.rng.choice(words)} {draw.rng.choice(words)}".capitalize() for _ in range(count))
    return table(("id", "name"), zip(draw.ids("tp", count), names, strict=True))


def industries(draw: Draw, count: int) -> list[Record]:
    """Make industries; their code isn't the number of their id."""
    names = [f"{goods} {trade}" for trade, goods in product(TRADES, GOODS)]
    return [
        {"id": industry_id, "code": 110_000 + 37 * place, "name": names[place % len(names)]}
        for place, industry_id in enumerate(draw.ids("naics", count))
    ]


def tech_stack_products(draw: Draw, count: int) -> list[Record]:
    """Make products of the tech stack."""
    return [
        {
            "id": product_id,
            "product": f"{draw.rng.choice(draw.pools.words).capitalize()} {draw.rng.choice(TECHNOLOGIES)}",
            "vendor": draw.rng.choice(draw.pools.companies),
        }
        for product_id in draw.ids("p", count)
    ]


def website_visits(draw: Draw, count: int, contacts: list[Record], organizations: list[Record]) -> list[Record]:
    """Make visits: of contacts, of people at an organization, of anyone. Their ids are no numbers."""
    at = {row["primaryDomain"]: row["id"] for row in organizations}
    rng = draw.rng
    visits = []
    for number in range(count):
        when = END - timedelta(milliseconds=int(SPAN.total_seconds() * 1000 * rng.random()))
        cursor = urlsafe_b64encode(f"{int(when.timestamp() * 1000)}:{number}".encode()).decode().rstrip("=")
        visit: Record = {
            "id": f"w_{cursor}",
            "visitTime": iso(when),
            "url": f"https://www.sandbox.example/{rng.choice(PAGES)}?ref={rng.randint(1, 99)}#top",
        }
        chance = rng.random()
        if contacts and chance < 0.5:
            contact = rng.choice(contacts)
            visit["contactId"] = contact["id"]
            if employer := at.get(contact.get("companyWebsite") or ""):
                visit["organizationId"] = employer
        elif organizations and chance < 0.85:
            visit["organizationId"] = rng.choice(organizations)["id"]
        visits.append(visit)
    return visits


def prospector_contacts(
    draw: Draw, count: int, contacts: Sequence[Person], strangers: Sequence[Person]
) -> list[Record]:
    """Make prospects: every third one is a contact already, the rest are strangers."""
    people = [draw.rng.choice(contacts) if contacts and place % 3 == 1 else strangers[place] for place in range(count)]
    return [
        _prospector_contact(draw, prospect_id, person)
        for prospect_id, person in zip(draw.ids("pc", count), people, strict=True)
    ]


def _prospector_contact(draw: Draw, prospect_id: str, person: Person) -> Record:
    rng = draw.rng
    return draw.row(
        {"id": prospect_id, "name": person.name},
        {
            "avatarUrl": draw.maybe(lambda: person.avatar),
            "companyName": draw.maybe(lambda: rng.choice(draw.pools.companies)),
            "companyWebsite": draw.maybe(lambda: f"https://firm-{rng.randint(1, 999)}.example/"),
            "fullName": draw.maybe(lambda: person.name),
            "linkedInFollowerCount": draw.maybe(lambda: rng.randint(0, 30_000)),
            "linkedInHandle": draw.maybe(lambda: person.handle),
            "location": rng.choice(draw.pools.locations),
            "role": draw.maybe(lambda: rng.choice(ROLES)),
            "seniority": draw.maybe(lambda: rng.choice(SENIORITIES)),
            "skills": draw.maybe(lambda: draw.some(lambda: rng.choice(SKILLS), 3)),
            "title": draw.maybe(lambda: rng.choice(draw.pools.titles)),
        },
    )


def prospector_companies(draw: Draw, count: int) -> list[Record]:
    """Make companies; nothing is documented of their ids, so that these have no prefix and no number."""
    return [_prospector_company(draw, place) for place in range(count)]


def _prospector_company(draw: Draw, place: int) -> Record:
    rng = draw.rng
    least = rng.randint(0, 10**6) * 1000
    return draw.row(
        {"id": str(UUID(int=rng.getrandbits(128), version=4)), "name": rng.choice(draw.pools.companies)},
        {
            "description": draw.maybe(draw.text),
            "employees": draw.maybe(lambda: rng.choice((rng.randint(1, 90_000), rng.randint(1, 99) / 2))),
            "linkedInHandles": draw.maybe(lambda: [f"firm-{place}-{part}" for part in range(rng.randint(0, 2))]),
            "location": draw.maybe(
                lambda: {
                    "address": draw.maybe(lambda: f"{rng.randint(1, 99)} {rng.choice(draw.pools.words).capitalize()}"),
                    "city": rng.choice(draw.pools.cities)["city"],
                    "state": None,
                    "country": rng.choice(tuple(WORLD_REGIONS)),
                    "countryCode": rng.choice(("DE", "US", "")),
                }
            ),
            "logoUrl": draw.maybe(lambda: f"https://logos.example/{place}.svg"),
            "primaryWebsite": draw.maybe(lambda: f"firm-{place}.example"),
            "raised": draw.maybe(lambda: rng.randint(0, 10**9) / 4),
            "revenueRange": draw.maybe(lambda: {"min": least, "max": draw.maybe(lambda: least * 10)}),
            "subIndustry": draw.maybe(draw.line),
            "technologies": draw.maybe(lambda: draw.some(lambda: rng.choice(TECHNOLOGIES), 3)),
        },
    )


def me(draw: Draw, person: Person, contacts: list[Record], segments: list[Record]) -> Record:
    """Make the user whom the token is of: the first contact."""
    return {
        "id": contacts[0]["id"] if contacts else "c_1",
        "communityId": "com_77",
        "name": person.name,
        "title": None,
        "role": "admin",
        "loginEmail": person.email,
        "profiles": [{"type": "github", "handle": person.handle}],
        "segments": [{"id": row["id"], "name": row["name"]} for row in segments[:2]],
        "personas": [{"id": "persona-7", "name": draw.line()}],
        "company": {"name": draw.rng.choice(draw.pools.companies), "domains": ["sandbox.example"], "summary": None},
    }


def segments(draw: Draw, count: int) -> list[Record]:
    """Make segments, most of them of contacts; how many members they have comes with their relations."""
    return [
        {
            "id": segment_id,
            "name": draw.line(),
            "entityType": ("contact", "contact", "organization", "contact", "object")[place % 5],
            "entityCount": draw.rng.randint(0, 9_000),
            "url": f"{APP}/segments/{segment_id}",
        }
        for place, segment_id in enumerate(draw.ids("s", count, first=7))
    ]


def tags(draw: Draw, count: int) -> list[Record]:
    """Make tags, for contacts, organizations and activities."""
    kinds = tuple(V1_ENTITY_TYPES)
    return [
        draw.row(
            {"id": tag_id, "name": draw.line()},
            {"description": draw.maybe(draw.line), "entityTypes": draw.rng.sample(kinds, draw.rng.randint(0, 3))},
        )
        for tag_id in draw.ids("l", count)
    ]
