"""Draw how the streams join, an entity-relationship diagram in SVG: `make erd`.

The streams, their keys, and the types of their columns are those of the table and the schemas; what joins stands in
``RELATIONS``. Graphviz lays it out (`apt install graphviz`). Its result depends on its version, so the file holds the
source that it was drawn from, and whether it is current is told by that.
"""

import argparse
import html
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from source_commonroom.records.shape import fixed_schema  # noqa: E402  # found by the line above
from source_commonroom.table import rows  # noqa: E402

PICTURE = ROOT / "docs/integrations/sources/commonroom/assets/commonroom-streams.svg"
ONE_TYPE = "object_<slug>_<number>"
"""How the streams of one type of objects are named here; they have the columns of ``objects``."""


class Relation(NamedTuple):
    """A column of one stream that names records of another."""

    source: str
    column: str
    target: str
    target_column: str
    many: bool
    """Whether a record may name several."""
    documented: bool = True


def _one(source: str, column: str, target: str, target_column: str = "id", *, documented: bool = True) -> Relation:
    return Relation(source, column, target, target_column, many=False, documented=documented)


def _many(source: str, column: str, target: str) -> Relation:
    return Relation(source, column, target, "id", many=True)


RELATIONS = (
    _one("contacts", "companyWebsite", "organizations", "primaryDomain"),
    _many("contacts", "segments", "segments"),
    _many("contacts", "tags", "tags"),
    _many("contacts", "leadScores", "lead_scores"),
    _many("contacts", "connectedCustomObjects", "objects"),
    _many("contacts", "recentActivities", "activities"),
    _many("contacts", "customFields", "custom_fields"),
    _many("organizations", "tags", "tags"),
    _many("organizations", "leadScores", "lead_scores"),
    _many("organizations", "topContacts", "contacts"),
    _many("organizations", "customFields", "custom_fields"),
    _one("activities", "contactId", "contacts"),
    _one("activities", "type", "activity_types"),
    _one("activities", "providerId", "providers"),
    _one("activities", "sentiment", "activity_sentiment", "name", documented=False),
    _one("website_visits", "contactId", "contacts"),
    _one("website_visits", "organizationId", "organizations"),
    _one("objects", "objectTypeId", "object_types"),
    _many("objects", "customFields", "custom_fields"),
    _one(ONE_TYPE, "id", "objects"),
    _one(ONE_TYPE, "objectTypeId", "object_types"),
    _many(ONE_TYPE, "customFields", "custom_fields"),
    _one("segment_members", "segmentId", "segments"),
    _one("segment_members", "memberId", "contacts"),
    _one("segment_members", "memberId", "objects"),
    _one("segment_statuses", "segmentId", "segments"),
    _one("custom_fields", "objectTypeId", "object_types"),
    _many("object_types", "assocs", "object_types"),
    _one("contact_custom_fields", "id", "custom_fields", documented=False),
    _one("user_defined_tags", "id", "tags", documented=False),
    _one("me", "id", "contacts"),
    _many("me", "segments", "segments"),
)
# Columns that say what a key means.
BESIDES = {"segment_members": ["memberType"], "segments": ["entityType"], "activities": ["activityTime"]}

INK, LINE, HEAD, FONT = "#24292f", "#57606a", "#dbe7fb", "Helvetica,Arial,sans-serif"
# Lines that begin at the streams with most of them, for the eye to follow.
COLORS = {
    "contacts": "#1f5fbf",
    "organizations": "#1a7f37",
    "activities": "#bc4c00",
    "segment_members": "#8250df",
    "objects": "#9a6700",
    ONE_TYPE: "#9a6700",
}


def main() -> int:
    """Draw the diagram; return what Graphviz returned."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.parse_args()
    try:
        drawn = subprocess.run(["dot", "-Tsvg"], input=source(), capture_output=True, text=True, check=True)  # noqa: S607
    except FileNotFoundError:
        print("Graphviz is missing. Install it: apt install graphviz", file=sys.stderr)
        return 1
    PICTURE.parent.mkdir(parents=True, exist_ok=True)
    # Its comments hold its version. Ours, behind the SVG, holds what it was drawn from.
    svg = drawn.stdout[drawn.stdout.index("<svg") :]
    PICTURE.write_text(f"{svg}{_stamp()}", encoding="utf-8")
    print(f"==> Drew {PICTURE.relative_to(ROOT)}")
    return 0


def is_current() -> bool:
    """Tell whether the diagram was drawn from what the streams are now."""
    return PICTURE.exists() and PICTURE.read_text(encoding="utf-8").endswith(_stamp())


def entities() -> Mapping[str, list[str]]:
    """Return the streams, each with the columns that are shown: its key, what joins, and what explains it."""
    found: dict[str, list[str]] = {row.name: list(row.primary_key) for row in rows().values()}
    found[ONE_TYPE] = list(found["objects"])
    for relation in RELATIONS:
        found[relation.source].append(relation.column)
        found[relation.target].append(relation.target_column)
    for name, columns in BESIDES.items():
        found[name] += columns
    return {name: list(dict.fromkeys(columns)) for name, columns in found.items()}


def source() -> str:
    """Return the diagram in Graphviz's language."""
    joined = {name for relation in RELATIONS for name in (relation.source, relation.target)}
    shown = entities()
    nodes = [_node(name, columns) for name, columns in shown.items() if name in joined]
    alone = [name for name in shown if name not in joined]
    return "\n".join(
        [
            "digraph streams {",
            '  graph [rankdir=LR, nodesep=0.3, ranksep=0.8, bgcolor="white", pad=0.3, splines=spline]',
            f'  node [shape=plain, fontname="{FONT}", fontsize=14, fontcolor="{INK}"]',
            f'  edge [color="{LINE}", dir=both, arrowsize=0.8]',
            *nodes,
            *_edges(),
            *_list_of(alone, shown),
            "}",
            "",
        ]
    )


def _stamp() -> str:
    # Two hyphens would end a comment of XML.
    return f"<!--\n{source().replace('--', '- -')}-->\n"


def _node(name: str, columns: list[str]) -> str:
    keys = _key_of(name)
    cells = "".join(
        f'<tr><td port="{column}" align="left">{"<b>" if column in keys else ""}{column}'
        f'{"</b>" if column in keys else ""}  <font color="{LINE}">{_type_of(name, column)}</font></td></tr>'
        for column in columns
    )
    title = f'<tr><td bgcolor="{HEAD}" align="left"><b>{html.escape(name)}</b></td></tr>'
    table = f'<table border="0" cellborder="1" cellspacing="0" cellpadding="4" color="{LINE}">{title}{cells}</table>'
    return f"  {_quoted(name)} [label=<{table}>]"


def _edges() -> Iterator[str]:
    for each in RELATIONS:
        style = "solid" if each.documented else "dashed"
        # A key names one record each, so that at most one record of the source belongs to one of the target.
        tail = "teeodot" if _key_of(each.source) == (each.column,) else "crow"
        head = "crow" if each.many else "teeodot"
        color = COLORS.get(each.source, LINE)
        # On the right, where there is room for a loop.
        side = ":e" if each.source == each.target else ""
        ends = (f"{_quoted(each.source)}:{each.column}{side}", f"{_quoted(each.target)}:{each.target_column}{side}")
        yield f'  {" -> ".join(ends)} [arrowtail={tail}, arrowhead={head}, style={style}, color="{color}"]'


def _list_of(alone: list[str], shown: Mapping[str, list[str]]) -> list[str]:
    """Return the streams that join to no other as one table."""
    cells = "".join(
        f'<tr><td align="left">{html.escape(name)}</td><td align="left"><b>{", ".join(shown[name])}</b></td></tr>'
        for name in alone
    )
    title = f'<tr><td bgcolor="{HEAD}" align="left" colspan="2"><b>Without a join</b></td></tr>'
    table = f'<table border="0" cellborder="1" cellspacing="0" cellpadding="4" color="{LINE}">{title}{cells}</table>'
    return [f"  alone [label=<{table}>]", '  {rank=same; alone; "object_types"}']


def _key_of(name: str) -> tuple[str, ...]:
    return tuple(rows()["objects" if name == ONE_TYPE else name].primary_key)


def _type_of(name: str, column: str) -> str:
    """Return the type of a column by its schema, which must have it.

    :raises KeyError: if it hasn't
    """
    row = rows()["objects" if name == ONE_TYPE else name]
    node: Mapping[str, Any] = fixed_schema(row.schema or row.name)["properties"][column]
    return "timestamp" if node.get("format") == "date-time" else str(node["type"][1])


def _quoted(name: str) -> str:
    return f'"{name}"'


if __name__ == "__main__":
    sys.exit(main())
