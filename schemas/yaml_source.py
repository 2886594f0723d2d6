"""YAML text to plain JSON data, with the line of every value and every problem that was found.

YAML 1.2, so `yes`, `no` and `on` stay text. Days stay text too: what they mean is the model's
business. Nothing is constructed but JSON's own types, whatever tags the text asks for.
"""

import json
import math
import re
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, ReusedAnchorWarning, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from schemas.printable import plain, plain_lines

At = tuple[str | int, ...]  # keys and indexes that lead to a value

# Contracts nest eight deep at most; inline JSON Schemas more. Also ends an alias inside itself.
MAX_DEPTH: Final = 64
# Aliases multiply: a few lines can stand for billions of values.
MAX_VALUES: Final = 100_000

_GZIP: Final = b"\x1f\x8b"
_OF_LINES: Final = frozenset({"task_id", "topic"})  # members of a line of a recording
_INSTEAD: Final = (
    "give the YAML file of the documents in its place; recordings are for send, dry-run, "
    "sources test, and contracts lint --against"
)
_TUPLE: Final = re.compile(r"\(('[^']*'),\)")  # what the library leaves in its messages

_TAG: Final = "tag:yaml.org,2002:"
_TEXT: Final = ("str", "timestamp", "merge")
_SCALARS: Final = ("int", "float", "bool", "null")


Level = Literal["error", "warning", "hint"]


@dataclass(frozen=True)
class Problem:
    """What is wrong where, and what to do about it. `line` counts from 1; 0 is the whole file. A
    hint says what would serve better; nothing is wrong."""

    file: str
    line: int
    path: str
    message: str
    suggestion: str
    level: Level = "error"

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.line else self.file
        path = f"{self.path}: " if self.path else ""
        level = "" if self.level == "error" else f"{self.level}: "
        told = f"{plain(place)}: {level}{plain(path)}{plain(self.message)}"
        return (
            f"{told}; {plain_lines(self.suggestion)}"  # which may show the place in an expression
        )


@dataclass(frozen=True)
class Location:
    """Where a document was read: its file, and the line of each value in it."""

    file: str
    lines: dict[At, int] = field(default_factory=dict)

    def problem(
        self,
        at: At,
        message: str,
        suggestion: str,
        level: Level = "error",
    ) -> Problem:
        """A problem at a value, or at the nearest one around it that the file has."""
        known = at
        while known and known not in self.lines:
            known = known[:-1]
        line = self.lines.get(known, 0)
        return Problem(
            file=self.file,
            line=line,
            path=show(at),
            message=message,
            suggestion=suggestion,
            level=level,
        )


def show(at: At) -> str:
    """A path for people: `fields[1].translate`."""
    text = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in at)
    return text.removeprefix(".")


def read(file: Path) -> tuple[list[tuple[Any, Location]], list[Problem]]:
    """The documents of a YAML file, each with its location, and the problems of reading them.

    A value with a problem is None. Nothing is raised for bad content.
    """
    name = str(file)
    try:
        data = file.read_bytes()
        if data.startswith(_GZIP):
            return [], [Problem(name, 0, "", "is compressed (gzip)", _INSTEAD)]
        text = data.decode("utf-8-sig")
    except FileNotFoundError:
        return [], [Problem(name, 0, "", "there is no such file", "check the path")]
    except OSError as error:
        reason = (error.strerror or "unknown").lower()
        return [], [Problem(name, 0, "", f"cannot be read: {reason}", "check its permissions")]
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        return [], [Problem(name, line, "", "is not UTF-8 text", "save the file as UTF-8")]
    return read_text(text, name)


def read_text(text: str, name: str) -> tuple[list[tuple[Any, Location]], list[Problem]]:
    """As `read`, of YAML text that is called `name`."""
    if _is_recording(text):
        message = "is a recording, one JSON object a line, and no contract, receiver or source"
        return [], [Problem(name, 0, "", message, _INSTEAD)]
    for number, words in enumerate(text.splitlines(), start=1):
        if words.startswith("%"):  # `%YAML 1.1` would turn `yes` into true
            message = "has a YAML directive, and files here are YAML 1.2"
            return [], [Problem(name, number, "", message, "remove the line")]
    try:
        nodes = _compose(text)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        return [], [_syntax(name, mark.line + 1 if mark else 0, error.problem or str(error))]
    except YAMLError as error:
        return [], [_syntax(name, 0, str(error).splitlines()[0])]
    except RecursionError:
        return [], [Problem(name, 0, "", "nests too deep to be read", "flatten it")]
    documents: list[tuple[Any, Location]] = []
    problems: list[Problem] = []
    for node in nodes:
        builder = _Builder(Location(name))
        built = builder.build(node, ())
        problems += builder.problems
        if built is not None and not builder.too_large:
            documents.append((built, builder.location))
    if not documents and not problems:
        problems.append(Problem(name, 0, "", "has no document", "write one, or remove the file"))
    return documents, problems


def _is_recording(text: str) -> bool:
    """Whether the first line is a JSON object of a task, or the first two are JSON objects."""
    lines = (line for line in text.splitlines() if line.strip())
    first, second = next(lines, ""), next(lines, "")
    found = _members(first)
    return bool(found and (not _OF_LINES.isdisjoint(found) or _members(second)))


def _members(line: str) -> dict[str, Any] | None:
    try:
        found = json.loads(line) if line.lstrip().startswith("{") else None
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _compose(text: str) -> list[Node]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ReusedAnchorWarning)  # YAML allows it
        return list(YAML(typ="safe", pure=True).compose_all(text))


def _syntax(file: str, line: int, problem: str) -> Problem:
    problem = _TUPLE.sub(r"\1", problem)
    suggestion = "correct the YAML here or just above"
    if "'\\t'" in problem:
        suggestion = "indent with spaces, not tabs"
    elif "mapping values are not allowed" in problem:
        suggestion = "check the indentation, and put text that holds ': ' in quotes"
    elif "expected ',' or '}'" in problem or "expected ',' or ']'" in problem:
        suggestion = (
            "within braces and brackets put text in quotes that holds a brace, a bracket, a comma, "
            "'? ' or ' : '"
        )
    elif "but found '<scalar>'" in problem:
        suggestion = "put the whole text in quotes: '...' where it holds \""
    return Problem(file, line, "", f"is not valid YAML: {problem}", suggestion)


class _Builder:
    """Turns one document's nodes into plain data; collects lines and problems on the way."""

    def __init__(self, location: Location) -> None:
        self.location = location
        self.problems: list[Problem] = []
        self.too_large = False
        self._values = 0
        self._scalars = YAML(typ="safe", pure=True).constructor

    def build(self, node: Node, at: At) -> Any:
        self._values += 1
        self.location.lines.setdefault(at, node.start_mark.line + 1)
        if self._values > MAX_VALUES or len(at) > MAX_DEPTH:
            if not self.too_large:
                self._refuse(
                    (),
                    f"holds more than {MAX_VALUES:,} values, or nests deeper than {MAX_DEPTH}",
                    "split the document, or write aliases out",
                )
            self.too_large = True
            return None
        match node:
            case MappingNode():
                return self._mapping(node, at)
            case SequenceNode():
                return self._list(node, at)
            case ScalarNode():
                return self._scalar(node, at)
            case _:
                raise TypeError(f"YAML has no node of the type {type(node).__name__}")

    def _mapping(self, node: MappingNode, at: At) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key_node, value_node in node.value:
            if self.too_large:
                break
            line = key_node.start_mark.line + 1
            if not isinstance(key_node, ScalarNode):
                self._refuse(at, "has a key that is a list or a mapping", "use text as keys")
                continue
            key = self._scalar(key_node, at)
            if not isinstance(key, str):
                # JSON has text keys only. Numbers as they are spelled: 007 is an id and not 7.
                numeric = isinstance(key, (int, float)) and not isinstance(key, bool)
                key = str(key_node.value) if numeric else json.dumps(key)
            if key in found:
                first = self.location.lines[*at, key]
                self.problems.append(
                    Problem(
                        self.location.file,
                        line,
                        show((*at, key)),
                        f"this key stands here twice, first in line {first}",
                        "keep one of them",
                    )
                )
                continue
            self.location.lines[*at, key] = line
            found[key] = self.build(value_node, (*at, key))
        return found

    def _list(self, node: SequenceNode, at: At) -> list[Any]:
        found: list[Any] = []
        for i, item in enumerate(node.value):
            if self.too_large:
                break
            found.append(self.build(item, (*at, i)))
        return found

    def _scalar(self, node: ScalarNode, at: At) -> str | int | float | bool | None:
        tag = str(node.tag).removeprefix(_TAG)
        if tag in _TEXT:
            text = str(node.value)
            if text.isascii() or not any("\ud800" <= char <= "\udfff" for char in text):
                return text
            self._refuse(at, "has half a character (an escaped surrogate)", "write it unescaped")
            return None
        if tag not in _SCALARS:
            self._refuse(at, f"has the tag {node.tag}", "remove it: only JSON's types are known")
            return None
        try:
            value = self._scalars.construct_object(node)
        except (ValueError, LookupError, YAMLError):  # the library lets all three through
            self._refuse(at, f"is not a value of the type {tag}", "correct it, or put it in quotes")
            return None
        if isinstance(value, float) and not math.isfinite(value):
            self._refuse(at, "JSON has no such number", "give a finite one")
            return None
        assert value is None or isinstance(value, (int, float, bool))
        return value

    def _refuse(self, at: At, message: str, suggestion: str) -> None:
        self.problems.append(self.location.problem(at, message, suggestion))
