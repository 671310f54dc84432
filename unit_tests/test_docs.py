"""The docs: what they name exists, and what exists is named; their links lead somewhere."""

import ast
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from airbyte_cdk.sources.streams.http.error_handlers.response_models import ResponseAction

from scripts import erd
from source_commonroom.api.errors import FAILURES
from source_commonroom.table import load_manifest, rows
from unit_tests.parity import assert_same
from unit_tests.test_privacy import PERSONAL

ROOT = Path(__file__).resolve().parent.parent
PROPERTIES: dict[str, Any] = load_manifest()["spec"]["connection_specification"]["properties"]
# How these tests name what they compare.
MANIFEST_FILE = "manifest.yaml"
USER_FILE = "docs/integrations/sources/commonroom.md"
REFERENCE_FILE = "docs/integrations/sources/commonroom/commonroom-reference.md"
USER_PAGE = (ROOT / USER_FILE).read_text()
REFERENCE = (ROOT / REFERENCE_FILE).read_text()
README = (ROOT / "README.md").read_text()
TARGETS = set(re.findall(r"^([a-z-]+):.*## ", (ROOT / "Makefile").read_text(), re.MULTILINE))
PAGES = {USER_FILE: USER_PAGE, REFERENCE_FILE: REFERENCE, "README.md": README}
PAGES |= {name: (ROOT / name).read_text() for name in ("CONTRIBUTING.md", "benchmarks/README.md")}


def section(page: str, heading: str) -> str:
    """Return what stands below a heading of the second level, up to the next one."""
    assert f"\n## {heading}\n" in page
    return page.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]


def first_cells(page: str, heading: str) -> set[str]:
    """List what stands between backquotes in the first cells below a heading."""
    section = re.split(r"\n#+ ", page.partition(f"\n## {heading}\n")[2])[0]
    return set(re.findall(r"^\| *`([^`]+)` *\|", section, re.MULTILINE))


@pytest.mark.parametrize(
    ("name", "page", "streams", "properties"),
    [
        (REFERENCE_FILE, REFERENCE, "Supported streams", "Configuration reference"),
        ("README.md", README, "Streams", "Configuration"),
    ],
)
def test_the_docs_have_a_row_for_every_stream_and_every_property_and_no_other(
    name: str, page: str, streams: str, properties: str
) -> None:
    assert_same(MANIFEST_FILE, {*rows(), "object_<slug>_<number>"}, name, first_cells(page, streams))
    assert_same(f"spec of {MANIFEST_FILE}", PROPERTIES, name, first_cells(page, properties))


def test_the_changelog_names_every_stream() -> None:
    named = set(re.findall(r"`([^`]+)`", (ROOT / "CHANGELOG.md").read_text()))
    assert_same(MANIFEST_FILE, rows(), "CHANGELOG.md", named & rows().keys())


def test_the_reference_names_the_lists_that_the_api_does_not_count_and_those_that_are_not_sorted() -> None:
    (line,) = re.findall(r"^- \*\*Lists that a count alone can't vouch for\..*$", REFERENCE, re.MULTILINE)
    uncounted, _, unsorted = line.partition("; and in a list that isn't sorted by id (")
    paged = [row for row in rows().values() if row.page in {"paged", "paged_open"} and not row.cursor_field]
    where = f'{REFERENCE_FILE}, "{line[4:45]}"'
    named = set(re.findall(r"`([^`]+)`", uncounted))
    assert_same(MANIFEST_FILE, {row.name for row in paged if not row.counts}, where, named)
    named = set(re.findall(r"`([^`]+)`", unsorted.partition(")")[0]))
    # It speaks of the members of a segment in words.
    here = {row.name for row in paged if row.counts and not row.both_ends} - {"segment_members"}
    assert_same(MANIFEST_FILE, here, where, named)


def test_the_table_of_errors_in_the_docs_is_that_of_the_code() -> None:
    again = {
        ResponseAction.RETRY: "for 10 minutes",
        ResponseAction.RATE_LIMITED: "until it passes",
        ResponseAction.FAIL: "no",
    }
    table = REFERENCE.partition("### Errors\n")[2].partition("\n### ")[0]
    documented = [re.split(r" *(?<!\\)\| *", line)[1:-1] for line in table.splitlines() if line.startswith("| `")]
    assert [(name, *cells) for name, _, *cells, _ in documented] == [
        (f"`{row.name}`", row.means, again[row.action], f"`{row.failure_type.value}`") for row in FAILURES
    ]
    for _, met, *_ in documented:
        assert met


def test_the_table_of_errors_in_the_docs_names_the_statuses_of_the_code() -> None:
    table = REFERENCE.partition("### Errors\n")[2].partition("\n### ")[0]
    for row in FAILURES:
        if not isinstance(row.statuses, range):
            met = re.search(rf"^\| `{row.name}` \| ([^|]*) \|", table, re.MULTILINE)
            assert met
            assert {str(status) for status in row.statuses} <= set(re.findall(r"\b[1-5]\d\d\b", met[1])), row.name


def test_the_version_is_one() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    metadata = yaml.safe_load((ROOT / "metadata.yaml").read_text())["data"]
    assert metadata["dockerImageTag"] == version
    assert re.search(rf"^## \[?{re.escape(version)}\b", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert f"| {version} " in USER_PAGE
    assert set(re.findall(r"airbyte_source_commonroom-([\d.]+)-py3", README)) == {version}


def test_the_commands_stand_first_in_the_readme() -> None:
    commands = re.findall(r"```(?:bash|shell|sh)\n(.*?)```", README, re.DOTALL)
    assert [command.strip() for command in commands[:2]] == ["make sync", "make test"]


def test_every_test_that_the_code_names_is_there() -> None:
    code = [*(ROOT / "source_commonroom").rglob("*.py"), ROOT / "source_commonroom/manifest.yaml"]
    # A long name stands on a line of its own, in a comment or a docstring.
    text = " ".join(re.sub(r"\n\s*(?:# )?", " ", path.read_text()) for path in code)
    tests = [path for folder in ("unit_tests", "integration_tests") for path in (ROOT / folder).rglob("test_*.py")]
    there = {name for path in tests for name in re.findall(r"^ *def (test_\w+)", path.read_text(), re.MULTILINE)}
    files = {str(path.relative_to(ROOT)) for path in tests}

    assert set(re.findall(r"\btest_(?:given|when|the)_\w+", text)) <= there
    assert set(re.findall(r"(?:unit_tests|integration_tests)/test_\w+\.py", text)) <= files


def test_the_user_page_names_every_stream() -> None:
    named = set(re.findall(r"`([^`]+)`", section(USER_PAGE, "Supported Streams")))
    assert_same(MANIFEST_FILE, {*rows(), "object_<slug>_<number>"}, USER_FILE, named)


def anchored(properties: dict[str, Any], path: str = "") -> Iterator[tuple[str, str]]:
    """List the options that a form shows as an anchor names them, each with its title."""
    for name, node in properties.items():
        if node.get("title") and not node.get("airbyte_hidden"):
            yield path + name, node["title"]
        for alternative in node.get("oneOf", []):
            yield from anchored(alternative["properties"], f"{path}{name}.")


def test_the_user_page_has_an_anchor_for_every_option_that_a_form_shows() -> None:
    anchors = dict(re.findall(r'<FieldAnchor field="([^"]+)">\n\n(.*?)\n\n</FieldAnchor>', USER_PAGE, re.DOTALL))
    texts = {field: text for fields, text in anchors.items() for field in fields.split(",")}

    titles = dict(anchored(PROPERTIES))
    assert_same(f"spec of {MANIFEST_FILE}", titles, USER_FILE, texts)
    assert [title for field, title in titles.items() if f"**{title}**" not in texts[field]] == []


def test_the_reference_says_of_every_stream_whether_it_holds_something_personal() -> None:
    personal = REFERENCE.partition("\n#### What is personal\n")[2].partition("\n#### ")[0]
    named = set(re.findall(r"^\| *`(\w+)`", personal, re.MULTILINE))
    # The definitions of custom fields hold values of people, if the field is personal.
    here = {*PERSONAL, "custom_fields", "contact_custom_fields"}
    assert_same("PERSONAL of unit_tests/test_privacy.py", here, f'{REFERENCE_FILE}, "What is personal"', named)


def texts_of(tree: ast.AST) -> Iterator[str]:
    """List the texts of a module, with braces in the place of each value that is put in."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value
        elif isinstance(node, ast.JoinedStr):
            yield "".join(str(part.value) if isinstance(part, ast.Constant) else "{}" for part in node.values)


def says(text: str, message: str) -> bool:
    """Tell whether such a text holds a message. A word or two of it may be a value there, and `…` is anything."""
    words = (r"\S+(?: \S+){0,3}" if word == "…" else rf"(?:{re.escape(word)}|\S*{{}}\S*)" for word in message.split())
    found = re.search(" ".join(words), text)
    return found is not None and found.group().count("{}") <= 2 + message.count("…")


@pytest.mark.parametrize(
    ("name", "table"),
    [
        (USER_FILE, section(USER_PAGE, "If a sync fails")),
        (REFERENCE_FILE, REFERENCE.partition("\n### Troubleshooting\n")[2].partition("\n## ")[0]),
    ],
    ids=[USER_FILE, REFERENCE_FILE],
)
def test_the_messages_in_the_docs_are_those_of_the_code(name: str, table: str) -> None:
    code = [path.read_text() for path in (ROOT / "source_commonroom").rglob("*.py")]
    texts = [text for module in code for text in texts_of(ast.parse(module))]
    # The first cell of a row, or what stands before the colon of an item.
    first = re.findall(r"^(?:\| |- )((?:`[^`]+`[, or]*)+)(?: \||:)", table, re.MULTILINE)
    messages = [message for cell in first for message in re.findall(r"`([^`]+)`", cell)]
    assert len(messages) > 5

    unknown = [message for message in messages if not any(says(text, message) for text in texts)]
    assert unknown == [], name


def anchors_of(page: str) -> set[str]:
    """List the anchors of a page, as GitHub and Docusaurus make them of its headings."""
    headings = re.findall(r"^#+ (.+)$", re.sub(r"```.*?```", "", page, flags=re.DOTALL), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("name", PAGES)
def test_the_links_of_the_docs_lead_somewhere(name: str) -> None:
    broken = []
    for target in re.findall(r"\]\(([^)\s]+)\)", PAGES[name]):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        file = (ROOT / name).parent / path if path else ROOT / name
        if not file.exists() or (anchor and anchor not in anchors_of(file.read_text())):
            broken.append(target)
    assert broken == []


@pytest.mark.parametrize("name", PAGES)
def test_the_targets_of_make_in_the_docs_are_there(name: str) -> None:
    code = re.findall(r"`make ([a-z-]+)|^make ([a-z-]+)", PAGES[name], re.MULTILINE)
    assert {"".join(pair) for pair in code} <= TARGETS


@pytest.mark.parametrize("name", ["ci.yml", "release.yml"])
def test_the_targets_of_make_in_the_workflows_are_there(name: str) -> None:
    steps = [
        step.get("run", "")
        for job in yaml.safe_load((ROOT / ".github/workflows" / name).read_text())["jobs"].values()
        for step in job.get("steps", [])
    ]
    called = {target for step in steps for target in re.findall(r"^make ([a-z-]+)", step, re.MULTILINE)}
    assert called
    assert called <= TARGETS


@pytest.mark.parametrize("name", [USER_FILE, REFERENCE_FILE])
def test_the_pages_of_airbyte_hold_what_its_docs_can_render(name: str) -> None:
    page = PAGES[name]

    assert "```mermaid" not in page
    for tag in ("HideInUI", "FieldAnchor", "details"):
        assert len(re.findall(rf"<{tag}[ >]", page)) == page.count(f"</{tag}>"), tag
    for kind in ("cloud", "oss"):
        assert page.count(f"<!-- env:{kind} -->") == page.count(f"<!-- /env:{kind} -->"), kind
    # Without a blank line before and behind it, a tag makes its text HTML, in which Markdown isn't rendered.
    for line in re.finditer(r"(?<=(.)\n)</?(?:HideInUI|FieldAnchor)[^>]*>(?=\n(.))", page):
        raise AssertionError(line.group())
    assert page.count(":::") % 2 == 0


def test_the_changelog_of_the_user_page_has_the_columns_that_airbyte_asks_for() -> None:
    assert re.search(
        r"^\| Version +\| Date +\| Pull Request +\| Subject +\|$", section(USER_PAGE, "Changelog"), re.MULTILINE
    )


def test_the_diagram_of_the_streams_has_every_stream_and_is_that_of_the_schemas() -> None:
    assert_same(MANIFEST_FILE, {*rows(), erd.ONE_TYPE}, "scripts/erd.py", erd.entities())
    assert erd.is_current(), "the diagram is out of date: run make erd"
