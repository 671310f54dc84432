"""Changes: what people, imports and integrations do to a workspace while it is read."""

from __future__ import annotations

from collections import Counter, deque
from datetime import timedelta
from random import Random
from typing import TYPE_CHECKING, Any

from integration_tests.sandbox.messages import finer, iso
from integration_tests.sandbox.workspace import id_key

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from integration_tests.chaos.avoid import Avoidance
    from integration_tests.chaos.chronicle import Chronicle
    from integration_tests.chaos.clock import Clock
    from integration_tests.chaos.schedule import Schedule
    from integration_tests.sandbox import Workspace

    Record = dict[str, Any]

PAGES_REMEMBERED = 20
# The collections that new records come into, and that old ones go from, whole.
LISTS = ("contacts", "organizations", "website_visits", "prospector_contacts")
# The ages of activities that arrive long after they happened.
YOUNGEST, OLDEST = timedelta(minutes=1), timedelta(days=15 * 365)


class Changes:
    """Makes changes, as many as asked for, and tells the chronicle of each."""

    avoidance: Avoidance | None = None
    """What may change now; everything, if nothing is being read."""

    def __init__(self, workspace: Workspace, chronicle: Chronicle, clock: Clock, schedule: Schedule) -> None:
        self.made: Counter[str] = Counter()
        self.read_rows_gone = 0
        self.left_out = 0
        """How many changes were left out, or a part of them."""
        self._leaves_out = False
        self._workspace = workspace
        self._chronicle = chronicle
        self._rng = rng = Random(f"changes {schedule.seed}")
        self._clock = clock
        self._lookback = timedelta(days=schedule.lookback_days)
        self._coarse = schedule.style.traits.date_resolution is not None
        self._finer = Random(f"finer {schedule.seed}") if schedule.style.traits.stored_finer else None
        self._ages = Random(f"ages {schedule.seed}")
        self._keeps_history = schedule.keeps_history
        self._read: deque[tuple[str, list[str]]] = deque(maxlen=PAGES_REMEMBERED)
        self._numbers: Counter[str] = Counter()
        self._kinds: dict[str, Callable[[], None]] = {
            "activity": self._insert_activity,
            "burst": self._insert_burst,
            "late arrival": self._insert_late,
            "future activity": self._insert_future,
            "deleted activity": lambda: self._delete("activities"),
            "merge": self._merge,
            "insert": lambda: self._insert(rng.choice(LISTS)),
            "update": lambda: self._update(rng.choice(LISTS)),
            "delete": lambda: self._delete(rng.choice(LISTS)),
        }

        # Each weighs as much as it is there.
        self._drawn = [*self._kinds, "late arrival"]
        if schedule.style.cursors is not None:
            # An API by offset is found out by them, and one by key has to bear them.
            self._kinds["deleted after it was read"] = self._delete_read
            self._drawn += ["deleted after it was read"] * 3

    def note_page(self, collection: str, ids: list[str]) -> None:
        """Remember a page that was answered, and that others follow."""
        self._read.append((collection, ids))

    def forget_pages(self) -> None:
        """Forget what was read: a run begins."""
        self._read.clear()

    def make(self) -> None:
        """Make a change, or none if there is nothing left to change."""
        drawn = self._rng.choice(self._drawn)
        self._leaves_out = False
        with self._workspace.lock:
            self._kinds[drawn]()
            if self._ages.random() < 0.3:
                # Drawn apart, so that a seed goes on to mean what it did.
                kind = "import" if self._ages.random() < 0.2 else "arrival of any age"
                self._insert_of_any_age(self._ages.randint(20, 300) if kind == "import" else 1)
                self.made[kind] += 1
        self.made[drawn] += 1
        self.left_out += self._leaves_out

    def _insert_activity(self) -> None:
        self._add_activity(self._clock.now())

    def _insert_burst(self) -> None:
        now = self._clock.now()
        for _ in range(self._rng.randint(10, 300)):
            self._add_activity(now)

    def _insert_late(self) -> None:
        """Add an activity that is as old as the lookback allows: anywhere in there, or at its very edge."""
        now = self._clock.now()
        edge = self._lookback - self._rng.random() * max(self._clock.gap, timedelta(seconds=3))
        late = self._rng.choice((self._rng.random() * self._lookback, edge))
        self._add_activity(now - max(late, timedelta()))

    def _insert_of_any_age(self, number: int) -> None:
        """Add activities of any age, as likely of minutes as of years; an import is spread over a part of that."""
        spread = OLDEST / YOUNGEST
        oldest = YOUNGEST * spread ** self._ages.random()
        for _ in range(number):
            age = oldest if number == 1 else YOUNGEST + (oldest - YOUNGEST) * self._ages.random()
            self._add_activity(self._clock.now() - age)

    def _insert_future(self) -> None:
        ahead = self._rng.choice((timedelta(days=2), timedelta(seconds=2)))
        # If dates are cut to a second, what comes within the last one before the end of a run isn't asked for, and
        # nothing tells. The next run brings it, but a law can't say which of them it belongs to.
        self._add_activity(self._clock.now() + (timedelta(days=2) if self._coarse else ahead))

    def _merge(self) -> None:
        """Let a contact be another one: it is gone, and what it did, the other one has done."""
        contacts = self._workspace.records("contacts")
        if len(contacts) < 2:
            return
        gone, kept = self._rng.sample(contacts, 2)
        if not self._remove("contacts", gone):
            return
        for collection in ("activities", "website_visits"):
            for row in self._workspace.records(collection):
                if row.get("contactId") == gone["id"]:
                    self._replace(collection, {**row, "contactId": kept["id"]})

    def _insert(self, collection: str) -> None:
        rows = self._workspace.records(collection)
        if rows:
            row = self._rng.choice(rows)
            self._add(collection, {**row, "id": self._new_id(collection), **self._change_of(row)})

    def _update(self, collection: str) -> None:
        rows = self._workspace.records(collection)
        if rows:
            row = self._rng.choice(rows)
            self._replace(collection, {**row, **self._change_of(row)})

    def _delete(self, collection: str) -> None:
        rows = self._workspace.records(collection)
        if rows:
            self._remove(collection, self._rng.choice(rows))

    def _delete_read(self) -> None:
        """Delete a row of a page that was read a moment ago, most often its first one."""
        if not self._read:
            return
        collection, ids = self._rng.choice(self._read)
        record_id = self._rng.choice((ids[0], ids[0], self._rng.choice(ids)))
        rows = [row for row in self._workspace.records(collection) if row["id"] == record_id]
        if rows and self._remove(collection, rows[0]):
            self.read_rows_gone += 1

    def _change_of(self, row: Record) -> Record:
        column = "url" if "visitTime" in row else "name"
        return {column: f"changed {sum(self.made.values())}"}

    def _add_activity(self, moment: datetime) -> None:
        contacts = self._workspace.records("contacts")
        self._add(
            "activities",
            {
                "id": self._new_id("activities"),
                "type": "tweet",
                "activityTime": finer(iso(moment), self._finer) if self._finer else iso(moment),
                "contactId": self._rng.choice(contacts)["id"] if contacts else "c_1",
                "content": f"change {sum(self.made.values())}",
            },
        )

    def _new_id(self, collection: str) -> str:
        """Make an id that is higher than all that ever were; one of a visit is a text, anywhere in the order."""
        if collection == "website_visits":
            return f"w_x{self._rng.getrandbits(64):x}"
        rows = self._workspace.records(collection)
        prefix = str(rows[0]["id"]).partition("_")[0] if rows else collection[0]
        if not self._numbers[collection]:
            self._numbers[collection] = max((int(id_key(row["id"])) for row in rows), default=0)
        self._numbers[collection] += self._rng.randint(1, 3)
        return f"{prefix}_{self._numbers[collection]}"

    def _add(self, collection: str, row: Record) -> None:
        if self.avoidance is not None and not self.avoidance.may_come(collection):
            self._leaves_out = True
            return
        self._workspace.insert(collection, row)
        self._chronicle.note(collection, row)

    def _replace(self, collection: str, row: Record) -> None:
        self._workspace.replace(collection, row)
        self._chronicle.note(collection, row)

    def _remove(self, collection: str, row: Record) -> bool:
        """Remove a row, and tell whether it might go."""
        is_kept = collection == "activities" and self._keeps_history
        if is_kept and row["activityTime"] < iso(self._clock.now() - self._lookback):
            self._leaves_out = True
            return False
        if self.avoidance is not None:
            rows = len(self._workspace.records(collection))
            if not self.avoidance.may_go(collection, rows):
                self._leaves_out = True
                return False
        self._workspace.delete(collection, row["id"])
        return True
