"""People: who they are, drawn before anything else, so that one e-mail address stands in several places."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from integration_tests.sandbox.draw import Draw
    from integration_tests.sandbox.messages import Record

# A custom field is as personal as its label says.
PERSONAL_LABEL = re.compile(r"e-?mail|phone|^name$", re.IGNORECASE)

DISTINCTIVE = re.compile(r"[ 0-9]")
"""What a name of several words has, and any address or number: a name of one word, texts may hold by chance."""


class Person(NamedTuple):
    """What identifies a person. The handle is unique."""

    name: str
    handle: str
    email: str
    phone: str

    @property
    def avatar(self) -> str:
        """The address of their picture."""
        return f"https://avatars.example/{self.handle}.png?size=96&v=2"

    @property
    def linked_in(self) -> str:
        """The address of their profile on LinkedIn."""
        return f"https://www.linkedin.com/in/{self.handle}/"


def make_people(draw: Draw, count: int) -> list[Person]:
    """Make people. Names come more than once, the rest hardly."""
    rng, pools = draw.rng, draw.pools
    emails = ("{}@mail.example", "{}+news@mail.example", "{}@post.büro.example", "Hello.{}@Mail.Example")
    drawn = []
    for number in range(count):
        handle = f"{rng.choice(pools.handles)}{1_000 + number}"
        drawn.append(Person(rng.choice(pools.names), handle, rng.choice(emails).format(handle), phone(draw)))
    return drawn


def phone(draw: Draw) -> str:
    """Draw a phone number."""
    digits = f"{draw.rng.randint(0, 10**7 - 1):07d}"
    return draw.rng.choice(
        (f"+49 151 {digits}", f"+1 (206) {digits[:3]}-{digits[3:]}", f"+81-3-{digits[:3]}-{digits[3:]}")
    )


def personal_values(records: Callable[[str], list[Record]]) -> set[str]:
    """List the e-mails, phone numbers, full names, handles, profiles and pictures of people in a workspace.

    Left out are names of one word, and what identifies companies. Free texts mention people, but only by values that
    stand in a column too. As JSON writes it, a value may look otherwise: `O'Brien, \\"Bo\\"`.
    """
    labelled = [row for row in records("custom_fields") if PERSONAL_LABEL.search(row["name"])]
    personal = {row["id"] for row in labelled}
    bearers = [row for name in ("contacts", "organizations", "objects") for row in records(name)]
    tops = [contact for row in records("organizations") for contact in row.get("topContacts", ())]
    found = {
        *(
            text
            for row in (*records("contacts"), *tops, *records("prospector_contacts"), *records("me"))
            for text in _identity(row)
        ),
        *(value["value"] for row in bearers for key, value in row.get("customFields", {}).items() if key in personal),
        *(value["value"] for row in labelled for value in row.get("sampleValues", ())),
    }
    return {text for text in found if isinstance(text, str) and DISTINCTIVE.search(text)}


def _identity(row: Record) -> Iterator[str | None]:
    for column in ("name", "fullName", "primaryEmail", "loginEmail", "avatarUrl", "linkedInHandle"):
        yield row.get(column)
    for phone_number in row.get("phoneNumbers") or ():
        yield phone_number["value"]
    for profile in row.get("profiles") or ():
        yield profile["value"] if "value" in profile else profile["handle"]
