"""The workspace: what the emulated Common Room knows, and the one place where it changes."""

from __future__ import annotations

from threading import RLock
from typing import TYPE_CHECKING, TypeVar

from integration_tests.sandbox.generate import Sizes, generate

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable, Mapping

    from integration_tests.sandbox.messages import Record

T = TypeVar("T")

DEFAULT_SEED = 20_260_630
API_TOKEN = {"jti": "tcsandbox1", "communityName": "Sandbox", "communityId": "8p980hdo0"}


def id_of(record: Record) -> str:
    """Tell the record's id. The API's token is the one object that has none; it has a `jti`."""
    return str(record["id"] if "id" in record else record["jti"])


def number_of(record_id: str) -> int:
    """Tell the number in a prefixed id, by which the API orders: `c_1000` comes after `c_999`."""
    return int(record_id.rpartition("_")[2])


class Workspace:
    """Collections of complete records by name, as `contacts`, safe to change while they are being read.

    The records are the truth as they stand: nothing derives one from another, so that inserting a contact
    leaves its organization's `contactsCount` alone. Don't change a record in place; `replace` it.
    """

    def __init__(self, collections: Mapping[str, Iterable[Record]]) -> None:
        self.lock = RLock()
        """Held by who needs several reads to agree."""
        self._collections: dict[str, dict[str, Record]] = {"api_token": {id_of(API_TOKEN): dict(API_TOKEN)}}
        self._derived: dict[Hashable, object] = {}
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
