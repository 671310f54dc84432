"""The plots of the page, as Vega-Lite says them. Each is as wide as its place on the page."""

from __future__ import annotations

from collections import Counter
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

import altair as alt

if TYPE_CHECKING:
    from scripts.report.figures import Row

INK, MUTED, LINE, ACCENT = "#1f2430", "#5b6472", "#e4e7ec", "#2b59c3"
# Okabe and Ito's colors, which people who see colors differently can tell apart.
PALETTE = ["#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#999999"]
FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Noto Sans', sans-serif"
QUARTERS = ["top", "2nd", "3rd", "4th", "none"]
SOURCES = 6
"""So many sources have a color of their own; the others share one."""


def activities_by_source(rows: list[Row]) -> dict[str, Any]:
    """Stack the activities of each week by source."""
    totals: Counter[str] = Counter()
    weeks: dict[date, Counter[str]] = {}
    for row in rows:
        totals[row["source"]] += row["activities"]
    named = [source for source, _ in totals.most_common(SOURCES)]
    domain = [*named, *(["others"] if len(totals) > len(named) else [])]
    for row in rows:
        weeks.setdefault(row["week"], Counter())[row["source"] if row["source"] in named else "others"] += row[
            "activities"
        ]
    values = []
    for week, counts in weeks.items():
        top = 0
        for source in domain:
            if counts[source]:
                # Stacked here: Vega-Lite stacks no bars that have an end in time.
                values.append(
                    {
                        "week": week.isoformat(),
                        "end": (week + timedelta(days=6)).isoformat(),
                        "source": source,
                        "from": top,
                        "to": top + counts[source],
                        "activities": counts[source],
                        "of": counts.total(),
                    }
                )
                top += counts[source]
    chart = (
        alt.Chart(alt.Data(values=values))
        .mark_rect()
        .encode(
            x=alt.X("week:T", scale=alt.Scale(type="utc"), title=None, axis=_months()),
            x2="end:T",
            y=alt.Y("from:Q", title="activities a week", axis=alt.Axis(tickMinStep=1)),
            y2="to:Q",
            color=alt.Color(
                "source:N",
                title=None,
                scale=alt.Scale(domain=domain, range=PALETTE[: len(domain)]),
                legend=alt.Legend(orient="top", symbolType="square", columns=3, labelLimit=110),
            ),
            tooltip=[
                alt.Tooltip("week:T", title="week of", timeUnit="utcyearmonthdate", format="%d %b %Y"),
                "source:N",
                "activities:Q",
                alt.Tooltip("of:Q", title="of all sources"),
            ],
        )
    )
    return _finished(chart, 260)


def contacts_by_segment(rows: list[Row]) -> dict[str, Any]:
    """Show how many contacts of each segment have which lead score."""
    order = list(dict.fromkeys(row["segment_id"] for row in rows))
    names = {row["segment_id"]: _short(row["segment"]) for row in rows}
    base = alt.Chart(
        alt.Data(
            values=[
                {
                    "segment": row["segment_id"],
                    "name": row["segment"],
                    "quarter": row["quarter"],
                    "contacts": row["contacts"],
                    "members": row["members"],
                }
                for row in rows
            ]
        )
    ).encode(
        x=alt.X(
            "quarter:N",
            sort=QUARTERS,
            title="quarter by primary lead score",
            axis=alt.Axis(orient="top", labelAngle=0, labelLimit=70),
        ),
        y=alt.Y(
            "segment:N",
            sort=order,
            title=None,
            axis=alt.Axis(labelLimit=150, labelExpr=f"({_object(names)})[datum.value]", labelPadding=6),
        ),
        tooltip=["name:N", "quarter:N", "contacts:Q", "members:Q"],
    )
    most = max((row["contacts"] for row in rows), default=0)
    cells = base.mark_rect(stroke="white", strokeWidth=2, cornerRadius=3).encode(
        color=alt.Color("contacts:Q", scale=alt.Scale(scheme="blues", domainMin=0), legend=None)
    )
    numbers = base.mark_text(fontSize=12).encode(
        text=alt.Text("contacts:Q", format=",d"),
        color=alt.condition(f"datum.contacts > {most * 0.55}", alt.value("white"), alt.value(INK)),
    )
    return _finished(cells + numbers, max(28 * len(order), 60))


def new_contacts(rows: list[Row]) -> dict[str, Any]:
    """Count contacts by the month of their first activity."""
    chart = (
        alt.Chart(alt.Data(values=[{"month": row["month"].isoformat(), "contacts": row["contacts"]} for row in rows]))
        .mark_bar(color=ACCENT, width={"band": 0.8})
        .encode(
            x=alt.X("month:T", timeUnit="utcyearmonth", bandPosition=0.5, title=None, axis=_months()),
            y=alt.Y("contacts:Q", title="new contacts", axis=alt.Axis(tickMinStep=1)),
            tooltip=[alt.Tooltip("month:T", timeUnit="utcyearmonth", format="%B %Y", title="month"), "contacts:Q"],
        )
    )
    return _finished(chart, 220)


def _months() -> alt.Axis:
    return alt.Axis(
        format="%b %Y",
        labelAngle=0,
        tickCount="month",
        labelOverlap="greedy",
        grid=False,
        labelSeparation=8,
        # A label at the end moves inwards, and isn't cut off.
        labelFlush=24,
    )


def _finished(chart: Any, height: int) -> dict[str, Any]:
    finished: dict[str, Any] = (
        chart.properties(width="container", height=height, background="transparent")
        .configure(font=FONT)
        .configure_view(stroke=None)
        .configure_axis(
            labelColor=MUTED,
            titleColor=MUTED,
            gridColor=LINE,
            domainColor=LINE,
            tickColor=LINE,
            labelFontSize=12,
            titleFontSize=12,
            titleFontWeight="normal",
        )
        .configure_legend(labelColor=INK, labelFontSize=12)
        .to_dict()
    )
    # Sizes follow the place on the page, also when a phone is turned.
    return finished | {"autosize": {"type": "fit-x", "contains": "padding", "resize": True}}


def _short(text: str, most: int = 26) -> str:
    return text if len(text) <= most else text[: most - 1].rstrip() + "…"


def _object(names: dict[str, str]) -> str:
    """Write a mapping as an expression of Vega."""

    def quoted(text: str) -> str:
        safe = "".join(c if c.isprintable() else " " for c in text)
        return "'" + safe.replace("\\", "\\\\").replace("'", "\\'") + "'"

    return "{" + ", ".join(f"{quoted(key)}: {quoted(name)}" for key, name in names.items()) + "}"
