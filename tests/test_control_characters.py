"""Control characters of documents and records never reach a terminal or a log, in JSON neither."""

import ast
import json
import logging
import sys
from io import StringIO
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st
from rich.panel import Panel
from rich.table import Table
from rich.text import Text
from ruamel.yaml import YAML

from console import render, yaml_text
from console.main import main
from processors.runtime import logs
from schemas.printable import INSTEAD, plain, plain_json, plain_lines
from tests.hostile import CLASSES, FORGED, check_shown, is_hostile, text, write
from tests.lanes import ROOT

# All code points but those of the private and unassigned planes, which are all alike.
POINTS = [*range(0xD800), *range(0xE000, 0x30000), *range(0xE0000, 0xE0200), 0x10FFFD, 0x10FFFF]
TEST = ["contracts", "test", "newer", "--against", "lines.jsonl", "--contracts", "documents"]
SHOW = ["show", "TASK", "--from", "lines.jsonl", "--contracts", "documents", "--values"]
NAMED = [word for option in ("stage", "team", "workflow") for word in (f"--{option}", "TASK")]
COMMANDS: dict[str, list[str]] = {
    "lint": ["contracts", "lint", "documents"],
    "lint json": ["contracts", "lint", "--output", "json", "documents"],
    "lint of what is wrong": ["contracts", "lint", "wrong"],
    "lint of what is wrong, json": ["contracts", "lint", "--output", "json", "wrong"],
    "diff": ["contracts", "diff", "documents", "newer"],
    "diff json": ["contracts", "diff", "--output", "json", "documents", "newer"],
    "test": TEST,
    "test json": [*TEST, "--output", "json"],
    "dry-run": ["dry-run", "--contracts", "documents", "--internal", "lines.jsonl"],
    "dry-run of bad lines": ["dry-run", "--contracts", "documents", "bad.jsonl"],
    "dry-run of wrong documents": ["dry-run", "--contracts", "wrong", "lines.jsonl"],
    "show": SHOW,
    "show json": [*SHOW, "--output", "json"],
    "show of nothing": ["show", "NONE", "--from", "lines.jsonl"],
    "show of no workflow": ["show", "TASK", "--from", "lines.jsonl", "--workflow", "NONE"],
    "edges": ["edges", "--from", "lines.jsonl", "--contracts", "documents"],
    "edges json": ["edges", "--from", "lines.jsonl", "--output", "json"],
    "edges dot": ["edges", "--from", "lines.jsonl", "--output", "dot"],
    "edges of no workflow": ["edges", "--from", "lines.jsonl", "--workflow", "NONE"],
    "discover": ["discover", "--from", "lines.jsonl"],
    "discover into a directory": ["discover", "--from", "lines.jsonl", "--directory", "NONE"],
    "audit": ["audit", "--from", "lines.jsonl", "--contracts", "documents"],
    "audit json": ["audit", "--from", "lines.jsonl", "--output", "json"],
    "audit markdown": ["audit", "--from", "lines.jsonl", "--output", "markdown"],
    "import": ["import", "openai-chat", "chat.json"],
    "import with names": ["import", "openai-chat", *NAMED, "chat.json"],
    "import of a wrong handoff": ["import", "openai-chat", "--handoff", "NONE", "chat.json"],
    "import of what is none": ["import", "openai-chat", "lines.jsonl"],
    "a file that is not there": ["dry-run", "--contracts", "documents", "NONE"],
    "documents that are not there": ["contracts", "lint", "NONE"],
    "a command that there is not": ["NONE"],
    "an option that there is not": ["show", "--NONE", "x"],
    "an option of the group": ["--NONE", "show"],
    "an argument too many": ["demo", "NONE"],
    "a choice that there is not": ["edges", "--output", "NONE"],
    "a time that is none": ["dry-run", "--until", "NONE", "--contracts", "documents", "bad.jsonl"],
}


def run(arguments: list[str], name: str) -> Result:
    typed = name.replace("\0", "")  # no argument can hold it
    given_ = [word.replace("TASK", name).replace("NONE", f"{typed}-none") for word in arguments]
    return CliRunner().invoke(main, given_)


@pytest.mark.parametrize("kind", CLASSES)
@pytest.mark.parametrize("command", COMMANDS)
def test_no_command_passes_one_on(
    command: str, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    name = text(kind)
    write(tmp_path, name)
    result = run(COMMANDS[command], name)
    assert result.exception is None or isinstance(result.exception, SystemExit)
    typed = "NONE" in " ".join(COMMANDS[command])  # with a line feed, which is shown as one
    for shown in (result.stdout, result.stderr):
        check_shown(shown.replace(FORGED, "") if typed else shown, command)
    assert result.stdout or result.stderr


@pytest.mark.parametrize("kind", CLASSES)
@pytest.mark.parametrize("command", ["dry-run", "edges json", "show json", "import with names"])
def test_json_says_the_same_as_before(
    command: str, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    name = text(kind)
    write(tmp_path, name)
    found = [json.loads(line) for line in run(COMMANDS[command], name).stdout.splitlines()]
    assert any(name in said for each in found for said in _texts(each))


def _texts(value: Any) -> Any:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, inside in value.items():
            yield key
            yield from _texts(inside)
    elif isinstance(value, list):
        for inside in value:
            yield from _texts(inside)


# --- the functions --------------------------------------------------------------------------------


def test_every_code_point_is_shown_or_replaced() -> None:
    for point in POINTS:
        char = chr(point)
        shown = plain(char)
        assert shown.isprintable()
        assert shown == char or shown in (INSTEAD, " ")
        assert (shown == INSTEAD) == is_hostile(char) or char == INSTEAD, hex(point)
        assert plain_lines(f"a{char}\nb") == (f"a{shown}\nb" if char != "\n" else "a\n\nb")


def test_every_code_point_is_the_same_in_json() -> None:
    for start in range(0, len(POINTS), 997):
        said = "".join(map(chr, POINTS[start : start + 997]))
        data = msgspec.json.encode({said: [said, "x"]})
        shown = plain_json(data)
        assert shown.decode().isprintable()
        assert json.loads(shown) == {said: [said, "x"]}
    assert plain_json(b'{"a":"\\u001b \xc3\xa9"}') == b'{"a":"\\u001b \xc3\xa9"}'
    assert (
        plain_json('"\u202e\x7f\U000e0001é"'.encode()) == b'"\\u202e\\u007f\\udb40\\udc01\xc3\xa9"'
    )


TEXTS = st.text(st.sampled_from("".join(CLASSES.values()) + "aé字🜚: -#'\"\\\u00a0"))


@given(
    st.recursive(TEXTS, lambda inner: st.lists(inner) | st.dictionaries(TEXTS, inner), max_leaves=8)
)
def test_yaml_comes_back_the_same(data: Any) -> None:
    shown = yaml_text.document({"a": data})
    check_shown(shown)
    assert YAML(typ="safe", pure=True).load(shown) == {"a": data}


@pytest.mark.parametrize("kind", CLASSES)
def test_the_terminal_gets_none_of_it_whatever_is_printed(kind: str) -> None:
    """Even where nobody thought of it: in a panel, a table, a title, as it is."""
    name = text(kind)
    out = StringIO()
    terminal = render.console()
    terminal.file = out
    table = Table(name, title=Text(name))
    table.add_row(Text(name))
    for each in (Text(name), Panel(Text(name), title=Text(name)), table):
        terminal.print(each)
    check_shown(out.getvalue().replace(FORGED, ""))


def test_colours_are_still_made() -> None:
    out = StringIO()
    terminal = render._Terminal(file=out, force_terminal=True, color_system="standard")
    terminal.print(Text("\x1b[31mhot\x1b[0m", "bold"))
    assert out.getvalue().startswith("\x1b[1m")
    assert "\x1b[31m" not in out.getvalue()


@pytest.mark.parametrize("kind", CLASSES)
def test_a_log_line_is_one_line_and_printable(
    kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    name = text(kind)
    root = logging.Logger("root")
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logs._Formatter("%(levelname)s %(message)s"))
    root.addHandler(handler)
    root.error("the document %s cannot be read", name)
    try:
        raise ValueError(name)
    except ValueError:
        root.exception("a defect with %s", name)
    logs.complain(f"there is no topic {name}")
    shown = capsys.readouterr().err
    check_shown(shown)
    begun = [line for line in shown.splitlines() if not line.startswith("    ")]
    assert [line.split()[0] for line in begun][:2] == ["ERROR", "ERROR"]


def test_nobody_writes_to_the_terminal_but_through_these() -> None:
    """`output.say` and the console of `render` for people, `output.line` for programs."""
    allowed = {"console/output.py", "processors/runtime/logs.py"}
    wrong = []
    for path in (*ROOT.glob("console/**/*.py"), *ROOT.glob("processors/**/*.py")):
        place = str(path.relative_to(ROOT))
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and place not in allowed:
                name = ast.unparse(node.func)
                written = name.startswith(
                    ("sys.stdout.write", "sys.stderr.write", "sys.stdout.buffer")
                )
                if written or name in ("print", "click.echo", "click.secho", "echo", "Console"):
                    wrong.append(f"{place}:{node.lineno} {name}")
    assert wrong == []
