"""The workspace: what the emulated Common Room knows, and the one place where it changes."""

from __future__ import annotations

from threading import RLock
from typing import TYPE_CHECKING, TypeVar

from integration_tests.sandbox.generate import Sizes, generate
from integration_tests.sandbox.messages import shown
from integration_tests.sandbox.people import personal_values
from integration_tests.sandbox.vocabulary import COMMUNITY_ID

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable, Mapping

    from integration_tests.sandbox.messages import Record

T = TypeVar("T")

DEFAULT_SEED = 20_260_630
API_TOKEN = {"jti": "tcsandbox1", "communityName": "Sandbox", "communityId": COMMUNITY_ID}
ME = {"id": "c_1", "communityId": "com_1", "name": "Sandbox", "role": "admin"}


def id_of(record: Record) -> str:
    """Tell the record's id. The API's token is the one object that has none; it has a `jti`."""
    return str(record["id"] if "id" in record else record["jti"])


def id_key(record_id: str) -> int | str:
    """Tell what of an id the API orders by: the number, so that `c_1000` comes after `c_999`, or else the text.

    The ids of a collection are of one form.
    """
    number = record_id.partition("_")[2]
    return int(number) if number.isdecimal() else record_id


def _segments(contact: Record) -> list[Record]:
    return contact.get("segments") or []


class Workspace:
    """Collections of complete records by name, as `contacts`, safe to change while they are being read.

    The records are the truth as they stand: nothing derives one from another, so that inserting a contact
    leaves its organization's `contactsCount` alone. Don't change a record in place; `replace` it.

    Some records tell more than the API answers: what a client has to ask by to get them, as an object's `objectTypeId`.
    The collection `object_memberships` isn't answered at all: it tells which objects are in which segment.
    """

    def __init__(self, collections: Mapping[str, Iterable[Record]]) -> None:
        self.lock = RLock()
        """Held by who needs several reads to agree."""
        self._collections: dict[str, dict[str, Record]] = {
            "api_token": {id_of(API_TOKEN): dict(API_TOKEN)},
            "me": {id_of(ME): dict(ME)},
        }
        self._derived: dict[Hashable, object] = {}
        self._derived_before: dict[Hashable, object] = {}
        for name, records in collections.items():
            self._collections[name] = {}
            for record in records:
                self.insert(name, record)

    @classmethod
    def of(cls, **collections: Iterable[Record]) -> Workspace:
        """Make a workspace of explicit records: `Workspace.of(activities=[…])`. The rest of it is empty."""
        return cls(collections)

    @classmethod
    def generate(cls, *, seed: int = DEFAULT_SEED, **sizes: int) -> Workspace:
        """Make a realistic workspace, the same one for the same seed and sizes.

        The sizes are the fields of `Sizes`: `Workspace.generate(contacts=2_000)`.
        """
        return cls(generate(seed, Sizes(**sizes)))

    def records(self, collection: str) -> list[Record]:
        """List the records with all their columns: what a complete sync has to bring."""
        with self.lock:
            return list(self._collections.get(collection, {}).values())

    def as_shown(self) -> Workspace:
        """Make a workspace of what the API answers of times that are stored finer: what a complete sync has to bring.

        The records are the same but for `activityTime`, which is cut to the millisecond.
        """
        with self.lock:
            collections = {name: list(held.values()) for name, held in self._collections.items()}
        collections["activities"] = [
            {**row, "activityTime": shown(row["activityTime"])} for row in collections.get("activities", [])
        ]
        return Workspace(collections)

    def segment_members(self) -> list[Record]:
        """List the members of segments, as far as the API tells: contacts and objects, but no organizations."""
        with self.lock:
            objects = {row["id"]: row for row in self.records("objects")}
            members = [
                *((segment["id"], "contact", row) for row in self.records("contacts") for segment in _segments(row)),
                *(
                    (row["segmentId"], "object", objects[row["objectId"]])
                    for row in self.records("object_memberships")
                    if row["objectId"] in objects
                ),
            ]
        return [
            {"segmentId": segment_id, "memberId": row["id"], "memberType": kind, "memberName": row["name"]}
            for segment_id, kind, row in members
        ]

    def personal_values(self) -> set[str]:
        """List what identifies people, wherever it stands: what a sync without personal data may show nowhere."""
        with self.lock:
            return personal_values(self.records)

    def insert(self, collection: str, record: Record) -> None:
        """Add a record whose id is new."""
        with self.lock:
            held = self._collections.setdefault(collection, {})
            if id_of(record) in held:
                raise KeyError(f"{collection} has {id_of(record)} already")
            held[id_of(record)] = record
            self._derived.clear()

    def replace(self, collection: str, record: Record) -> None:
        """Put a record in the place of the one with the same id."""
        with self.lock:
            if id_of(record) not in self._collections.get(collection, {}):
                raise KeyError(f"{collection} has no {id_of(record)}")
            self._collections[collection][id_of(record)] = record
            self._derived.clear()

    def delete(self, collection: str, record_id: str) -> None:
        """Remove a record, leaving no tombstone, as the API does."""
        with self.lock:
            del self._collections[collection][record_id]
            self._derived.clear()

    def derived(self, key: Hashable, build: Callable[[], T]) -> T:
        """Tell what `build` makes of the records, built anew only after a change of them.

        A page of a large collection costs a bisection with this, and a sort without it.
        """
        with self.lock:
            if key not in self._derived:
                self._derived[key] = build()
            return self._derived[key]  # type: ignore[return-value]  # what this key's `build` made

    def derived_again(self, key: Hashable, build: Callable[[T | None], T]) -> T:
        """Tell the same where `build` can go by what it made before the last change; it gets None the first time."""
        with self.lock:
            made = self.derived(key, lambda: build(self._derived_before.get(key)))  # type: ignore[arg-type]
            self._derived_before[key] = made
            return made
