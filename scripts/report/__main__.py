"""Write the page: `python -m scripts.report`.

It is one file that needs no network: the plots are drawn by Vega, which the page holds.
"""

from __future__ import annotations

import argparse
import json
import sys
import webbrowser
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import jinja2
import vl_convert

from scripts.models import MARTS, opened, synced
from scripts.report import charts
from scripts.report.figures import ACCOUNTS, DAYS, SEGMENTS, WEEKS, Figures, problems, read_figures
from scripts.warehouses.tables import WarehouseError

DRAW = """
for (const place of document.querySelectorAll("[data-chart]")) {
    const chart = JSON.parse(document.getElementById(place.dataset.chart).textContent);
    vegaEmbed(place, chart, {actions: false, renderer: "svg"});
}
"""
NOTHING = "\N{EN DASH}"
HOURS_TOLD = 48
TRENDS = {"warming": "▲", "new": "▲", "steady": "●", "cooling": "▼", "quiet": "○"}


def main() -> None:
    """Read the figures, write the page, and open it if that is wished."""
    parser = argparse.ArgumentParser(prog="python -m scripts.report", description=__doc__)
    parser.add_argument("--database", type=Path, default=synced(), help="the DuckDB file (default: %(default)s)")
    parser.add_argument("--schema", default=MARTS, help="the schema that it built in (default: %(default)s)")
    parser.add_argument("--output", type=Path, help="the page (default: beside the database)")
    parser.add_argument("--open", action="store_true", help="open it in the browser")
    arguments = parser.parse_args()
    output: Path = arguments.output or arguments.database.with_suffix(".html")
    try:
        with opened(arguments.database) as connection:
            figures = read_figures(connection, arguments.schema)
    except WarehouseError as error:
        sys.exit(f"ERROR: {error}")
    except (duckdb.CatalogException, duckdb.BinderException) as error:
        sys.exit(
            f"ERROR: {arguments.database} has no tables of dbt in the schema {arguments.schema}, or older ones: "
            f"{str(error).splitlines()[0]}\n`make build` makes them."
        )
    output.write_text(page(figures, now=datetime.now(UTC)), encoding="utf-8")
    for problem in problems(figures):
        print(f"    {problem}")
    print(f"==> Wrote {output} ({output.stat().st_size / 1e6:.1f} MB)")
    if arguments.open and not webbrowser.open(output.absolute().as_uri()):
        print("    No browser could be started; open the file by hand.")


def page(figures: Figures, *, now: datetime) -> str:
    """Make the page."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "number": number,
        "day": day,
        "minute": minute,
        "age": age,
        "sparkline": sparkline,
        "link": link,
    }
    return environment.get_template("page.html.j2").render(
        figures=figures,
        problems=problems(figures),
        now=now,
        trends=TRENDS,
        limits={"days": DAYS, "accounts": ACCOUNTS, "weeks": WEEKS, "segments": SEGMENTS},
        charts={
            "sources": _script(charts.activities_by_source(figures.activities_by_source)),
            "segments": _script(charts.contacts_by_segment(figures.contacts_by_segment)),
            "months": _script(charts.new_contacts(figures.new_contacts)),
        },
        # The bundle is a module of its own, that ends no script element by what it holds.
        drawing=vl_convert.javascript_bundle(DRAW).replace("</script", "<\\/script"),
    )


def _script(chart: dict[str, Any]) -> str:
    """Write JSON that can stand in a script element, whatever the texts in it."""
    return json.dumps(chart, ensure_ascii=False).replace("<", "\\u003c")


def link(address: str | None) -> str | None:
    """Return an address that a page may link to; None of one that a browser would run, such as `javascript:`."""
    return address if address and address.lower().startswith(("https://", "http://")) else None


def number(value: float | None) -> str:
    """Write a number with separators of thousands."""
    return NOTHING if value is None else f"{value:,}"


def day(value: datetime | None) -> str:
    """Write a day."""
    return NOTHING if value is None else f"{value:%d %b %Y}".lstrip("0")


def minute(value: datetime | None) -> str:
    """Write a time in UTC to the minute."""
    return NOTHING if value is None else f"{value:%d %b %Y, %H:%M}".lstrip("0")


def age(hours: int) -> str:
    """Write how long ago something was, roughly."""
    if hours < 1:
        return "less than an hour"
    count, unit = (hours, "hour") if hours < HOURS_TOLD else (hours // 24, "day")
    return f"{count:,} {unit}{'' if count == 1 else 's'}"


def sparkline(values: list[int], width: int = 104, height: int = 24) -> str:
    """Draw a row of bars as SVG, of numbers alone."""
    most = max([*values, 1])
    step = width / max(len(values), 1)
    bars = "".join(
        f'<rect x="{place * step:.1f}" y="{height - bar:.1f}" width="{step - 2:.1f}" height="{bar:.1f}"/>'
        for place, bar in enumerate(max(value / most * height, 1) for value in values)
    )
    label = ", ".join(map(str, values))
    return f'<svg class="spark" viewBox="0 0 {width} {height}" role="img" aria-label="{label}">{bars}</svg>'


if __name__ == "__main__":
    main()
