"""What a schedule leaves out, because under its style it couldn't be known what it costs.

Where cursors count rows, a row that goes hides one that stays, and a client that isn't told learns of it from numbers
only, or from pages that it asks for once more. A few combinations leave no such trace. To let them happen and forgive
the loss would make the laws weaker for all that does leave one; so they don't happen while the connector reads.
Between two runs they do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from integration_tests.chaos.style import ACTIVITIES, CONTACTS, ORGANIZATIONS

if TYPE_CHECKING:
    from integration_tests.chaos.schedule import Run, Schedule

PATHS = {
    "activities": ACTIVITIES,
    "contacts": CONTACTS,
    "organizations": ORGANIZATIONS,
    "website_visits": "/v2/website-visits",
    "prospector_contacts": "/v2/prospector-contacts",
}
"""The paths of the collections that change."""
THREE_PAGES = 600


class Avoidance:
    """Tells which changes may happen in a run."""

    def __init__(self, schedule: Schedule, run: Run) -> None:
        self._style = schedule.style
        self._run = run
        self._streams = schedule.streams
        self._by_offset = schedule.cursor_style == "offset"

    def may_come(self, collection: str) -> bool:
        """Tell whether a row may be inserted while the connector reads."""
        return not self._by_offset or self._is_bounded(collection) or not self._run.rows_go

    def may_go(self, collection: str, rows: int) -> bool:
        """Tell whether a row may be deleted while the connector reads.

        :param rows: how many there are
        """
        if not self._by_offset or self._is_bounded(collection):
            return True
        if not self._is_counted(collection) and (collection == "activities" or rows > THREE_PAGES):
            # Without a count, the first page, the last and the one in the middle tell whether pages have moved. They
            # tell of each deletion in a list of three; in a longer one, those between them may be all that moved.
            # A window of activities is as long as the connector will have it.
            return False
        return self._run.rows_go

    def _is_bounded(self, collection: str) -> bool:
        """Tell whether what is created can be told from what was there, and so can't make up for what was hidden.

        Where it can't, an insertion behind the walk brings the row that a deletion before it has hidden, as far as
        numbers go: so many were counted, so many came, and so many are counted now. So it is in lists without a count,
        of website visits, whose ids are no numbers, in a window of activities, where rows arrive late, and of the
        members of a segment, which older ones may join; in ids that are compared as texts; and where the highest id
        isn't answered, because the list comes in one order only.
        """
        traits = self._style.traits
        return (
            collection not in {"activities", "website_visits"}
            and not (collection == "contacts" and "segment_members" in self._streams)
            and not traits.text_sorted_ids
            and PATHS[collection] not in traits.ignores_order
            and self._is_counted(collection)
        )

    def _is_counted(self, collection: str) -> bool:
        """Tell whether all requests for counts are answered.

        A fault may let one fail, and the list is as one without a count then: unless the run's faults spare counts.
        """
        counted = self._style.counted(PATHS[collection], failing=self._run.counts_fail)
        return counted and (self._run.spares_counts or not self._run.faults)
