"""Custom fields: definitions with every label that makes trouble as a column, and values of every type."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from integration_tests.sandbox.people import phone
from integration_tests.sandbox.vocabulary import OBJECT_TYPES

if TYPE_CHECKING:
    from collections.abc import Callable

    from integration_tests.sandbox.draw import Draw
    from integration_tests.sandbox.messages import Record
    from integration_tests.sandbox.people import Person

DEALS, SUBSCRIPTIONS, OTHER_DEALS = (type_id for type_id, _ in OBJECT_TYPES[:3])

LABELS = (
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
    ("Serial", "int", DEALS),
    ("Serial", "int", OTHER_DEALS),
    ("Champion", "boolean", "contact organization"),
)
LABELS_OF_ALL = (
    ("Deal size", "number"),
    ("deal-size", "int"),
    ("Бюджет", "string"),
    ("💎", "boolean"),
    ("Signed on", "date"),
    ("Website", "url"),
    ("Stage", "string"),
    ("Stage", "string"),
    ("Work e-mail", "string"),
    ("Phone number", "string"),
    ("Name", "string"),
    ("Coordinates", "geo"),
    ("Interests", "list"),
)
"""What contacts, organizations and two types of objects have. The last two are of undocumented types."""

CHOICES = {"Stage": ("New", "Qualified", "Won 🏆"), "Interests": ("API", "SSO", "Dados, e mais", "")}
"""Fields of one of these, or of several: in v1 their type is `enum`."""
MULTIVALUE = "Interests"

AWKWARD_VALUES: dict[str, tuple[Any, ...]] = {
    "int": (0, -1, 2**53 + 1, 2**63 - 1, -(2**63)),
    "number": (0.1, -0.0, 1e-7, 1.5e20, -12.75, 3, 100.0),
    "date": (
        "2024-02-29T00:00:00.000Z",
        "0001-01-01T00:00:00Z",
        "9999-12-31T23:59:59.999Z",
        "2025-03-04T05:06:07+09:00",
    ),
}


class Field(NamedTuple):
    """A field that records have values of."""

    field_id: str
    value_type: str
    share: float
    """How many of the records have one."""
    draw: Callable[[Person], Any]


class CustomFields:
    """The definitions, and values of them for records of one kind."""

    def __init__(self, draw: Draw, people: list[Person]) -> None:
        self._draw = draw
        self._people = people
        labels = [
            *((*label, 0.6) for label in LABELS),
            *(
                (name, value_type, owner, 0.2)
                for owner in ("contact", "organization", DEALS, SUBSCRIPTIONS)
                for name, value_type in LABELS_OF_ALL
            ),
        ]
        self.definitions: list[Record] = []
        self._fields: dict[str, list[Field]] = {}
        for field_id, (name, value_type, owners, share) in zip(
            draw.ids("cf", len(labels), first=12), labels, strict=True
        ):
            field = Field(field_id, value_type, share, self._drawing(name, value_type))
            self.definitions.append(self._definition(field, name, owners.split()))
            for owner in owners.split():
                self._fields.setdefault(owner, []).append(field)

    def of_contacts_in_v1(self) -> list[Record]:
        """List the definitions for contacts once more, as v1 tells them: what the choices are, and whether of many."""
        return [
            {
                "id": int(row["id"].removeprefix("cf_")),
                "name": row["name"],
                "type": "enum" if row["name"] in CHOICES else row["valueType"],
                "multivalue": row["name"] == MULTIVALUE,
            }
            | ({"values": list(CHOICES[row["name"]])} if row["name"] in CHOICES else {})
            for row in self.definitions
            if "contact" in row["entityTypes"]
        ]

    def values(self, owner: str, person: Person) -> Record:
        """Draw the values of a record that has to do with a person; a field without a value isn't in the map."""
        random = self._draw.rng.random
        return {
            field.field_id: {"type": field.value_type, "value": field.draw(person)}
            for field in self._fields.get(owner, ())
            if random() < field.share
        }

    def _definition(self, field: Field, name: str, owners: list[str]) -> Record:
        draw = self._draw
        of_objects = owners[0].startswith("cot_")
        # It isn't known what samples of an undocumented type look like.
        known = not isinstance(field.draw(self._people[0]), (dict, list))
        return draw.row(
            {
                "id": field.field_id,
                "name": name,
                "entityTypes": ["object"] if of_objects else owners,
                "keyField": name == "id",
                "valueType": field.value_type,
            }
            | ({"objectTypeId": owners[0]} if of_objects else {}),
            {
                "sampleValues": [
                    {"type": field.value_type, "value": field.draw(person)}
                    for person in draw.some(self._person, 2 * known)
                ],
                "description": draw.maybe(draw.line),
                "targetSubTypes": draw.some(draw.line, 1),
                "providedBy": draw.maybe(draw.line),
            },
        )

    def _person(self) -> Person:
        return self._draw.rng.choice(self._people)

    def _drawing(self, name: str, value_type: str) -> Callable[[Person], Any]:
        """Make the drawing of a field's values: personal, of its choices, or of its type, now and then extreme."""
        draw, rng = self._draw, self._draw.rng
        of_name: dict[str, Callable[[Person], Any]] = {
            "Work e-mail": lambda person: person.email,
            "Phone number": lambda person: person.phone if rng.random() < 0.5 else phone(draw),
            "Name": lambda person: person.name,
            "Stage": lambda _: rng.choice(CHOICES["Stage"]),
            "Interests": lambda _: draw.some(lambda: rng.choice(CHOICES["Interests"]), 3),
        }
        of_type: dict[str, Callable[[Person], Any]] = {
            "string": lambda _: draw.line(),
            "url": lambda _: f"https://crm.example/{rng.randint(1, 999)}?a=b&c=%20#d",
            "int": lambda _: rng.randint(-1_000, 100_000),
            "number": lambda _: round(rng.uniform(-1e6, 1e6), 2),
            "date": lambda _: draw.moment(),
            "boolean": lambda _: rng.random() < 0.5,
            "geo": lambda _: {"lat": round(rng.uniform(-90, 90), 4), "lon": round(rng.uniform(-180, 180), 4)},
        }
        if name in of_name:
            return of_name[name]
        ordinary, awkward = of_type[value_type], AWKWARD_VALUES.get(value_type, ())
        if not awkward:
            return ordinary
        return lambda person: rng.choice(awkward) if rng.random() < 0.25 else ordinary(person)
