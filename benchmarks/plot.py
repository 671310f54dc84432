"""The figures as a plot: horizontal bars, a panel for each metric, in SVG written by hand.

No library and no font of its own; the colours hold on a light ground and on a dark one.
"""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from benchmarks.report import COLUMNS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.bench import Row
    from benchmarks.report import Column

CHARACTER, BARS, VALUES = 7, 190, 60
"""The widths of a character, of the longest bar, and of the figure behind it."""
LINE, BAR, HEAD, FOOT = 22, 14, 58, 26

STYLE = """
text { font: 12px sans-serif; fill: #24292f }
.title { font-weight: bold; font-size: 14px } .note { fill: #6e7781; font-size: 11px }
.bar { fill: #9aa5b1 } .subject { fill: #2f6fde }
@media (prefers-color-scheme: dark) { text { fill: #d0d7de } .bar { fill: #6e7781 } .subject { fill: #58a6ff } }
"""


def svg(title: str, note: str, rows: Sequence[Row], metrics: Sequence[str], subject: str) -> str:
    """Draw the metrics of the rows, panel beside panel; the bars of one case, the subject, stand out."""
    names = CHARACTER * max(len(row.case) for row in rows) + 16
    panel = names + BARS + VALUES
    width = max(panel * len(metrics), CHARACTER * max(len(title) + 8, len(note)))
    height = HEAD + LINE * len(rows) + FOOT
    panels = (_panel(COLUMNS[metric], rows, panel * place + names, subject) for place, metric in enumerate(metrics))
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}">',
        f"<title>{escape(title)}</title><style>{STYLE}</style>",
        _text(8, 20, title, "title"),
        *(part for parts in panels for part in parts),
        _text(8, height - 8, note, "note"),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _panel(column: Column, rows: Sequence[Row], left: int, subject: str) -> list[str]:
    """Draw one metric. Its bars begin at `left`, and the longest fills the panel."""
    values = [column.value(row) for row in rows]
    longest = max((value for value in values if value), default=1)
    parts = [_text(left, HEAD - 12, column.title, "note")]
    for place, (row, value) in enumerate(zip(rows, values, strict=True)):
        top = HEAD + LINE * place
        length = BARS * (value or 0) / longest
        kind = "bar subject" if row.case == subject else "bar"
        parts += [
            _text(left - 8, top + 11, row.case, end=True),
            f'<rect class="{kind}" x="{left}" y="{top}" width="{length:.1f}" height="{BAR}" rx="2"/>',
            _text(left + length + 6, top + 11, column.text(row)),
        ]
    return parts


def _text(x: float, y: float, content: str, kind: str = "", *, end: bool = False) -> str:
    attributes = (f' class="{kind}"' if kind else "") + (' text-anchor="end"' if end else "")
    return f'<text x="{x:.1f}" y="{y:.1f}"{attributes}>{escape(content)}</text>'
