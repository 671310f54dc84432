"""The shape of records: values that fit, typed columns for custom fields, and personal data hashed or dropped."""

import logging
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from threading import Lock
from typing import Any, NamedTuple

from airbyte_cdk.sources.utils.schema_helpers import ResourceSchemaLoader
from airbyte_cdk.utils.traced_exception import AirbyteTracedException

from source_commonroom.api.repeats import Repeats
from source_commonroom.api.retriever import PageRetriever, Rows
from source_commonroom.config import PersonalData
from source_commonroom.lists.cached import fetch_cached
from source_commonroom.lists.partitions import identified, object_types_or_none
from source_commonroom.records.columns import Column, columns_from, columns_of, custom_cols, make_filler
from source_commonroom.records.privacy import make_cleaner, non_personal_fields
from source_commonroom.records.values import ChangedRecord, PageChanges, kind_of, make_fitter

logger = logging.getLogger("airbyte")

ALL_FIELDS = "cf_*"
_MAP = "customFields"
_LONGEST_NAME = 40
# What identifies a record.
_KEYS = ("id", "jti", "memberId")


@dataclass
class CustomFieldDefinitions(PageRetriever):
    """Retrieves the definitions of the custom fields of a stream's records.

    Those of objects are the definitions of all their types, which are a list of their own.

    :param entity: whose fields: ``contact``, ``organization``, a type of objects (``cot_<number>``), or ``object`` for
        all types
    """

    entity: str = ""
    object_types: PageRetriever | None = None

    def get(self) -> Rows:
        """Return the definitions, as ``/custom-fields?entityType=…`` answers them.

        If the types of objects can't be listed there are none, and a warning: no other stream may fail for that.

        :raises AirbyteTracedException: if they can't be had, as the request's failure
        """
        entities = [self.entity]
        if self.object_types is not None and self.entity == "object":
            entities = [str(row["id"]) for row in identified(object_types_or_none(self.object_types) or [])]
        return [row for entity in entities for row in fetch_cached(self, {"entityType": entity})]


@cache
def fixed_schema(name: str) -> Mapping[str, Any]:
    """Return the schema of a stream but for the columns of custom fields; don't change it.

    :param name: that of its file
    """
    schema: Mapping[str, Any] = ResourceSchemaLoader("source_commonroom").get_schema(name)
    return schema


def schema_of(stream: str, name: str, definitions: CustomFieldDefinitions | None, mode: str) -> Mapping[str, Any]:
    """Return the schema of a stream, with a typed column for each custom field.

    Why not the CDK's ``DynamicSchemaLoader``: it drops one of two fields with equal labels, and ends the whole discover
    at a type that it doesn't know. Pinned by unit_tests/test_custom_fields.py.

    :param name: that of the file of its fixed part
    :param definitions: retrieves the definitions of the fields; None if its records have none
    :param mode: ``label``, ``id`` or ``none``
    :raises AirbyteTracedException: if the definitions can't be had, so that no column is left out silently
    """
    schema = dict(fixed_schema(name))
    columns = custom_columns(stream, definitions, mode)
    schema["properties"] = {**schema["properties"], **{column.name: column.schema() for column in columns}}
    return schema


def custom_columns(stream: str, definitions: CustomFieldDefinitions | None, mode: Any) -> list[Column]:
    """Return the typed columns that a stream has now; a warning names the types that aren't known.

    :raises AirbyteTracedException: if the definitions can't be had
    """
    if definitions is None or mode == "none":
        return []
    try:
        columns = columns_of(definitions.get(), mode)
    except AirbyteTracedException as error:
        raise AirbyteTracedException(
            message=f"{stream}: the columns for custom fields can't be named, because their definitions can't be read. "
            f"{str(error.message).removeprefix(f'{stream}: ')} "
            'Or set "Custom Field Columns" to none: the column customFields holds them all anyway.',
            internal_message=error.internal_message,
            failure_type=error.failure_type,
        ) from error
    unknown = sorted({column.value_type for column in columns if column.type == "json"})
    if unknown:
        logger.warning(
            "%s: there are custom fields of a type that this connector doesn't know (%s). Their columns hold text, "
            "in JSON if the value isn't text. A newer version of the connector may know the type.",
            stream,
            ", ".join(unknown) or "unnamed",
        )
    return columns


class RecordShape:
    """Gives records their shape, in place, as the module says; a :class:`PageTransformation`.

    Why not the CDK's transformations: each costs some 80 µs a record.
    Pinned by unit_tests/test_values.py, unit_tests/test_custom_fields.py and unit_tests/test_privacy.py.

    :param schema: that of the stream's columns, but for those of custom fields
    :param definitions: retrieves the definitions of the stream's custom fields; None if it has none
    :param mode: how their columns are named: ``label``, ``id`` or ``none``
    :param personal: what becomes of personal data
    """

    def __init__(
        self,
        name: str,
        schema: Mapping[str, Any],
        definitions: CustomFieldDefinitions | None,
        *,
        mode: str,
        personal: PersonalData,
    ) -> None:
        self.name = name
        self.definitions = definitions
        self._fixed = schema
        self._mode = mode
        self._personal = personal
        self._selected: Mapping[str, Any] | None = None
        self._steps: _Steps | None = None
        self._keys: list[str] = []
        self._lock = Lock()
        self._removed: Counter[str] = Counter()
        self._reported_removed = False

    @property
    def needs_definitions(self) -> tuple[bool, bool]:
        """Whether the definitions of custom fields are needed to name columns, and to tell which are personal."""
        has_fields = self.definitions is not None
        return has_fields and self._mode != "none", has_fields and not self._personal.is_kept

    def select_columns(self, properties: Mapping[str, Any], cols: str) -> str:
        """Fill only the columns that a configured catalog selects, and return what to ask for.

        :param properties: those of the stream's schema in the catalog
        :param cols: all columns that the endpoint knows, separated by commas
        :return: of ``cols``, what is selected
        """
        self._selected = properties
        chosen = [name for name in cols.split(",") if name in properties]
        if ALL_FIELDS in cols.split(","):
            chosen += self._custom_cols(properties)
        return ",".join(chosen)

    def _custom_cols(self, properties: Mapping[str, Any]) -> list[str]:
        columns = self._columns()
        if _MAP in properties or self.definitions is None:
            return custom_cols(columns, known=0, whole_map=_MAP in properties)
        if not columns:
            return []
        ids = {row.get("id") for row in self.definitions.get()}
        # The API refuses a field that is gone by now, and one of another type of objects.
        there = [column for column in columns if column.field in ids]
        return custom_cols(there, len(ids), whole_map=bool(there) and self.definitions.entity == "object")

    def columns_filled_by(self, column: str) -> list[str]:
        """Return the typed columns that a custom field fills, and the map of all if all are asked for."""
        if column == ALL_FIELDS:
            return [_MAP, *(["all columns custom_…"] if self._columns() else [])]
        return [each.name for each in self._columns() if each.field == column]

    def _columns(self) -> list[Column]:
        if self._selected is None:
            return custom_columns(self.name, self.definitions, self._mode)
        columns = columns_from(self._selected)
        # Of a catalog that has lost the fields' ids on its way.
        known = {column.name for column in columns}
        if unnamed := {name for name in self._selected if name.startswith("custom_")} - known:
            current = custom_columns(self.name, self.definitions, self._mode)
            columns += [column for column in current if column.name in unnamed]
        return columns

    def transform_page(self, records: Rows, repeats: Repeats) -> None:
        """Shape the records of a page; one with values that don't fit becomes a :class:`ChangedRecord`.

        :raises AirbyteTracedException: if the definitions are needed and can't be had; nothing is emitted then
        """
        steps = self._steps
        if steps is None:
            with self._lock:
                steps = self._steps = self._steps or self._make_steps()
        misfits, left_out = steps.fit_page(records)
        for name, number in left_out.items():
            repeats.warn(
                f"values of {name[:_LONGEST_NAME]}, which are left out",
                number,
                f"the API sends a field {name[:_LONGEST_NAME]} that isn't documented, and whose name differs from that "
                "of a column by case alone. Most destinations would write it into that column, so it is left out. A "
                "newer version of the connector may know it.",
            )
        # A map that isn't one fills no column.
        misfits += [(place, name) for place, column in misfits if column == _MAP for name in steps.custom]
        if steps.fill is not None:
            misfits += [(place, name) for place, record in enumerate(records) for name in steps.fill(record)]
        for step in steps.last:
            for record in records:
                step(record)
        if misfits:
            self._name_misfits(misfits, records, repeats)
        for key in self._keys:
            if keyless := [record.get(key) for record in records].count(None):
                repeats.warn(
                    f"records without {key}",
                    keyless,
                    f"{keyless} records of a page have no {key}, by which a destination identifies records. They are "
                    "emitted, but one that deduplicates may merge them into one. Tell Common Room's support.",
                )
        if self._removed:
            self._report_removed()

    def _make_steps(self) -> "_Steps":
        columns = self._columns()
        fixed = self._fixed["properties"]
        self._keys = [name for name in _KEYS if name in fixed]
        texts = [name for name in self._keys if kind_of(fixed[name]) == "string"]
        last: list[Callable[[dict[str, Any]], object]] = []
        if self.definitions and self._selected is not None and _MAP not in self._selected:
            # It would contain only some of the custom fields.
            last.append(lambda record: record.pop(_MAP, None))
        non_personal: Collection[str] = ()
        if self.definitions and not self._personal.is_kept:
            non_personal = non_personal_fields(self.definitions.get())
        cleaner = make_cleaner(
            self.name, self._personal.mode, self._personal.salt, non_personal, columns, self._removed
        )
        return _Steps(
            # Personal data may stand in anything that is no text.
            fit_page=make_fitter(fixed, [column.name for column in columns], texts if self._personal.is_kept else ()),
            fill=make_filler(columns) if columns else None,
            custom=[column.name for column in columns],
            last=[*last, cleaner] if cleaner else last,
        )

    def _name_misfits(self, misfits: Sequence[tuple[int, str]], records: Rows, repeats: Repeats) -> None:
        """Name the values that became null in their records, and, once a column, in the log; never what they were."""
        has_map = self._selected is None or _MAP in self._selected
        no_map = any(name == _MAP for _, name in misfits)
        nulled: defaultdict[int, list[str]] = defaultdict(list)
        for place, name in misfits:
            if name != _MAP or has_map:
                nulled[place].append(name)
        for place, names in nulled.items():
            records[place] = ChangedRecord({**records[place], **dict.fromkeys(names)}, names)
        for name, number in sorted(Counter(name for names in nulled.values() for name in names).items()):
            is_held = has_map and not no_map and self._personal.is_kept
            held = "customFields holds them as they are. " if is_held else ""
            repeats.warn(
                f"values of {name} that don't fit its type",
                number,
                f"values of {name} don't fit its type, and are null there; the record's meta.changes names them. "
                + (
                    f"{held}Was the field's type changed in Common Room? Then refresh the schema."
                    if name.startswith("custom_")
                    else "The API's documentation promises others. A newer version of the connector may know them; "
                    "else tell Common Room's support."
                ),
            )

    def _report_removed(self) -> None:
        with self._lock:
            first, self._reported_removed = not self._reported_removed, True
        if first:
            logger.warning(
                "%s: the API sends fields that this version of the connector doesn't know. They may be personal, "
                "and are left out. A newer version may know them.",
                self.name,
            )


class _Steps(NamedTuple):
    """What each page goes through, in this order."""

    fit_page: Callable[[Rows], PageChanges]
    fill: Callable[[dict[str, Any]], Sequence[str]] | None
    custom: Sequence[str]
    """The names of the columns that it fills."""
    last: Sequence[Callable[[dict[str, Any]], object]]
