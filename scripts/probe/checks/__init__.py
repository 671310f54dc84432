"""The table of checks, one for each row of "What we assume of the API" in CONTRIBUTING.md.

To add one, give the row the next id, write a function from `Survey` to `Finding`, and add it here. A test compares the
ids, and wants to know how the sandbox can break the row.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from scripts.probe.checks import answers, lists, records, segments, times

if TYPE_CHECKING:
    from collections.abc import Callable

    from scripts.probe.findings import Finding
    from scripts.probe.survey import Survey


@dataclass(frozen=True)
class Check:
    """A row's check. Those that are `late` run after all others, since they let time pass, or look back."""

    row: str
    run: Callable[[Survey], Finding]
    late: bool = False
    looks_back: bool = False
    """Whether it looks at all that was answered, also if the run ended early."""


CHECKS = (
    Check("A01", answers.rate, late=True, looks_back=True),
    Check("A02", answers.interval, late=True, looks_back=True),
    Check("A03", answers.waits, late=True, looks_back=True),
    Check("A04", answers.token_expiry),
    Check("A05", answers.largest_page),
    Check("A06", lists.cursor_lives, late=True),
    Check("A07", lists.cursor_is_bound),
    Check("A08", lists.joined_pages, late=True),
    Check("A09", lists.required_cursor),
    Check("A10", lists.optional_cursor),
    Check("A11", answers.unpaged),
    Check("A12", segments.v1_bodies),
    Check("A13", segments.v1_ids),
    Check("A14", segments.statuses),
    Check("A15", segments.status_numbers),
    Check("A16", lists.visit_ids),
    Check("A17", segments.members_of_objects),
    Check("A18", segments.members_of_organizations),
    Check("A19", segments.contacts_of_other_segments),
    Check("A20", records.fields_by_type),
    Check("A21", records.value_types),
    Check("A22", records.types),
    Check("A23", records.field_values),
    Check("A24", records.several_values),
    Check("A25", records.single_fields),
    Check("A26", records.all_columns),
    Check("A27", records.thin_records),
    Check("A28", records.keys_are_there),
    Check("A29", times.date_bounds),
    Check("A30", times.stored_times),
    Check("A31", records.timestamps),
    Check("A32", answers.dates, late=True, looks_back=True),
    Check("A33", times.nothing_before_1970),
    Check("A34", lists.order_by_time),
    Check("A35", answers.refused_token),
    Check("A36", answers.body_of_refusals, late=True, looks_back=True),
    Check("A37", answers.redirects, late=True, looks_back=True),
    Check("A38", answers.shared_limit, late=True, looks_back=True),
    Check("A39", answers.token_status),
    Check("A40", lists.exact_counts),
    Check("A41", lists.counted_activities),
    Check("A42", lists.counted_alone),
    Check("A43", lists.not_counted),
    Check("A44", answers.bad_cursor),
    Check("A45", lists.order_by_id),
    Check("A46", lists.growing_ids, late=True),
    Check("A47", lists.no_changes),
    Check("A48", lists.unique_ids),
    Check("A49", answers.undocumented),
    Check("A50", answers.slowest, late=True, looks_back=True),
)
