"""The pages that people read: their links, what they say of the code, and their examples hold."""

import ast
import datetime as dt
import json
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import click
import msgspec
import pytest

from alerts.status import AlertStatus
from console.main import main
from processors.runtime import metrics
from processors.runtime.settings import Settings
from processors.runtime.status import LaneStatus
from schemas.alerts import AlertAction, AlertSilence
from schemas.lifecycle import OPEN, TRANSITIONS, Transition
from schemas.lint import lint
from schemas.lint_sources import lint_sources
from schemas.loading import load
from schemas.records import (
    Ack,
    Amendment,
    HandoffRequest,
    Package,
    Signal,
    ToolOutput,
    Violation,
)
from schemas.route_files import lint_routes, load_routes
from web.auth.access import load_access

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
# `path/file.py`, `path/file.py:Name`, `path/file.py:Class.method`
PLACE = re.compile(
    r"`((?:schemas|topics|processors|alerts|web|console|tests|bench|examples|docs)/[\w./-]*)"
)
NAMED = re.compile(r"`([\w/]+\.py):([A-Za-z_]\w*(?:\.\w+)*)`")
BARE = re.compile(r"`([A-Z]\w+)\.(_?[a-z]\w*)`")

pytestmark = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


def prose(page: Path) -> str:
    return FENCE.sub("", page.read_text(encoding="utf-8"))


@cache
def anchors(page: Path) -> frozenset[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    titles = re.findall(r"^#+ +(.+)$", prose(page), re.MULTILINE)
    return frozenset(re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles)


@cache
def names(path: Path) -> frozenset[str]:
    """What a module defines: `Name`, and `Class.member` of its classes."""
    found: set[str] = set()
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            found.add(node.name)
        if isinstance(node, ast.ClassDef):
            found.update(
                f"{node.name}.{inner.name}"
                for inner in node.body
                if isinstance(inner, ast.FunctionDef)
            )
    return frozenset(found)


@cache
def all_names() -> frozenset[str]:
    tops = ("schemas", "topics", "processors", "alerts", "web", "console")
    return frozenset().union(*(names(p) for top in tops for p in (ROOT / top).rglob("*.py")))


@cache
def commands() -> frozenset[str]:
    """Every command as it is typed after `handoff`."""

    def below(group: click.Group, before: str) -> Iterator[str]:
        for name, command in group.commands.items():
            if isinstance(command, click.Group):
                yield from below(command, f"{before}{name} ")
            else:
                yield before + name

    return frozenset(below(main, ""))


def test_links_lead_somewhere(page: Path) -> None:
    wrong = []
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if target.startswith("https://"):
            continue
        path, _, anchor = target.partition("#")
        there = (page.parent / path).resolve() if path else page
        if not there.exists() or (anchor and anchor not in anchors(there)):
            wrong.append(target)
    assert wrong == []


def test_files_and_functions_exist(page: Path) -> None:
    text = prose(page)
    wrong = [place for place in PLACE.findall(text) if not (ROOT / place).exists()]
    wrong += [
        f"{path}:{name}"
        for path, name in NAMED.findall(text)
        if not (ROOT / path).exists() or name not in names(ROOT / path)
    ]
    wrong += [f"{a}.{b}" for a, b in BARE.findall(text) if f"{a}.{b}" not in all_names()]
    assert wrong == []


def test_commands_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    typed = re.findall(
        r"^(?:\$ )?(?:.*\| )?handoff ([a-z].*)$",
        "\n".join(body for _, body in FENCE.findall(text)),
        re.MULTILINE,
    )
    typed += re.findall(r"`handoff ([a-z][^`]*)`", text)
    wrong = [
        line
        for line in typed
        if not any(re.match(rf"{re.escape(command)}\b", line) for command in commands())
    ]
    assert wrong == []


def test_contracts_in_the_text_are_without_a_fault(page: Path, tmp_path: Path) -> None:
    for number, (language, body) in enumerate(FENCE.findall(page.read_text(encoding="utf-8"))):
        if language == "yaml":
            path = tmp_path / f"{number}.yaml"
            path.write_text(body, encoding="utf-8")
            if body.startswith("kind: AlertRoutes"):
                assert list(lint_routes(*load_routes(path))) == []
                continue
            if body.startswith("kind: ConsoleAccess"):
                load_access(path)
                continue
            found = load([path])
            assert lint(found, dt.date(2026, 6, 1)) == []
            assert lint_sources(found) == []


def check_members(table: str, record: type[msgspec.Struct]) -> None:
    """A table has every member of an input, and says which must be there."""
    rows = re.findall(r"^\| (`.*?) \| (.*?) \|", table, re.MULTILINE)
    told = {name: needed for names, needed in rows for name in re.findall(r"`(\w+)`", names)}
    defaults = record.__struct_defaults__
    needed = record.__struct_fields__[: len(record.__struct_fields__) - len(defaults)]
    assert sorted(told) == sorted(record.__struct_fields__)
    assert sorted(name for name, words in told.items() if words == "yes") == sorted(needed)


def codes() -> frozenset[str]:
    """Every code that the code can refuse an input with."""
    found = set()
    for top in ("schemas", "topics", "processors", "console"):
        for path in (ROOT / top).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if (
                    isinstance(node, ast.Call)
                    and isinstance(node.func, ast.Name)
                    and node.func.id == "Refused"
                ):
                    code = node.args[0]
                    assert isinstance(code, ast.Constant), f"{path}, line {node.lineno}"
                    found.add(str(code.value))
    return frozenset(found)


def _row(transition: Transition) -> str:
    """A row of the lifecycle as the page has it."""
    before = "any of these" if transition.before == OPEN else ", ".join(transition.before) or "new"
    signal = f" `{transition.signal}`" if transition.signal else ""
    return f"| {before} | {transition.what} | {transition.becomes} |{signal} |"


def test_tables_are_complete(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    if page.name == "README.md":
        listed = set(re.findall(r"^\| `handoff ([a-z -]+?)(?: [-A-Z].*)?` \|", text, re.MULTILINE))
        assert listed == commands()
    if page.name == "records.md":
        for title, record in (("Package", Package), ("Violation", Violation), ("Signal", Signal)):
            section = text.partition(f"## {title}\n")[2].partition("\n## ")[0]
            # The first table of a section lists the members; a second one begins after a gap.
            table = section[section.index("| member |") :].partition("\n\n")[0]
            cells = re.findall(r"^\| (`.*?) \|", table, re.MULTILINE)
            told = [name for cell in cells for name in re.findall(r"`(\w+)`", cell)]
            assert sorted(told) == sorted(record.__struct_encode_fields__)
        for title, sent in (
            ("Tool output", ToolOutput),
            ("Ack", Ack),
            ("Amendment", Amendment),
            ("Alert action", AlertAction),
            ("Alert silence", AlertSilence),
        ):
            section = text.partition(f"### {title}\n")[2].partition("\n##")[0]
            tables = section.split("| member ")[1:]
            records = (sent, HandoffRequest) if sent is ToolOutput else (sent,)
            for table, given in zip(tables, records, strict=True):
                check_members(table.partition("\n\n")[0], given)
            (example,) = (body for language, body in FENCE.findall(section) if language == "json")
            assert msgspec.json.decode(example, type=sent)
            assert json.loads(example).keys() <= set(sent.__struct_fields__)
    if page.name == "contracts.md":
        life = text.partition("## The life of a handoff\n")[2].partition("\n## ")[0]
        rows = [line for line in life.splitlines() if line.startswith("|")][2:]
        assert rows == [_row(transition) for transition in TRANSITIONS.values()]
    if page.name == "operations.md":
        section = text.partition("## Settings")[2].partition("\n## ")[0]
        cells = re.findall(r"^\| (`.*?) \|", section, re.MULTILINE)
        assert {name for cell in cells for name in re.findall(r"`(\w+)`", cell)} == set(
            Settings.model_fields
        )
        section = text.partition("## Dead letters")[2].partition("\n### ")[0]
        cells = re.findall(r"^\| (`.*?) \|", section, re.MULTILINE)
        assert {name for cell in cells for name in re.findall(r"`(\w+)`", cell)} == codes()
        section = text.partition("## Health")[2].partition("\n## ")[0]
        cells = re.findall(r"^\| (`handoff_.*?) \|", section, re.MULTILINE)
        published = {
            family.name + ("_total" if family.type == "counter" else "")
            for collector in (
                metrics.LaneCollector([LaneStatus("integrity")]),
                AlertStatus(),
            )
            for family in collector.collect()
        }
        assert {name for cell in cells for name in re.findall(r"`(\w+)`", cell)} == published
