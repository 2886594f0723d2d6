"""Contracts, receivers and sources from YAML files, with every problem found in them.

`load` reads and validates each document; `schemas.lint` and `schemas.lint_sources` judge them
against each other.
"""

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypeVar, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from schemas.documents import Document, HandoffContract, Receiver, key
from schemas.sources import ROOTS, TAGGED, Source
from schemas.yaml_source import At, Location, Problem, read, read_text

_KINDS: Final[Mapping[str, type[HandoffContract] | type[Receiver] | type[Source]]] = {
    "HandoffContract": HandoffContract,
    "Receiver": Receiver,
    "Source": Source,
}

Kind = TypeVar("Kind", bound=BaseModel)
ReadFile = tuple[list[tuple[Any, Location]], list[Problem]]


@dataclass(frozen=True)
class Documents:
    """What was loaded, in the order of files and of documents in them.

    `locations` maps a document to where it was read, by its key (a source by "source" and its id);
    documents that come from a topic have none.
    """

    contracts: tuple[HandoffContract, ...] = ()
    receivers: tuple[Receiver, ...] = ()
    locations: Mapping[str, Location] = field(default_factory=dict)
    intake_sources: tuple[Source, ...] = ()

    def location(self, document: Document | Source) -> Location:
        """Where a document was read, or its key in place of a file."""
        return self.locations.get(_name(document)) or Location(_name(document))


def _name(document: Document | Source) -> str:
    """A name that no document of another kind has."""
    return f"source {document.id}" if isinstance(document, Source) else key(document)


class DocumentErrors(Exception):
    """All that is wrong with the files; `str()` prints one problem a line."""

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__(problems)
        self.problems = problems

    def __str__(self) -> str:
        return "\n".join(str(problem) for problem in self.problems)


def load(paths: Iterable[Path | str]) -> Documents:
    """Read contracts, receivers and sources from files and directories.

    Of a directory these are all *.yaml and *.yml below it, sorted. Raises DocumentErrors with
    every problem of every file.
    """
    problems: list[Problem] = []
    files = _files([Path(path) for path in paths], problems)
    return _loaded((read(file) for file in files), problems)


def load_text(text: str, name: str) -> Documents:
    """As `load`, of one YAML text that is called `name`."""
    return _loaded([read_text(text, name)], [])


def _loaded(read_files: Iterable[ReadFile], problems: list[Problem]) -> Documents:
    documents: list[Document | Source] = []
    locations: dict[str, Location] = {}
    for found, here in read_files:
        for data, location in found:
            document = validated(data, location, here, _KINDS)
            if document is None:
                continue
            name = _name(document)
            if name in locations:
                first = locations[name]
                here.append(
                    location.problem(
                        ("id",),
                        f"{name} is declared twice, first at {first.file}:{first.lines[('id',)]}",
                        "remove one of them"
                        if not isinstance(document, HandoffContract)
                        else "remove one of them, or raise the version",
                    )
                )
                continue
            locations[name] = location
            documents.append(document)
        problems += sorted(here, key=lambda problem: problem.line)
    if problems:
        raise DocumentErrors(problems)
    return Documents(
        tuple(d for d in documents if isinstance(d, HandoffContract)),
        tuple(d for d in documents if isinstance(d, Receiver)),
        locations,
        tuple(d for d in documents if isinstance(d, Source)),
    )


def _files(paths: list[Path], problems: list[Problem]) -> Iterator[Path]:
    seen: set[Path] = set()
    for path in paths:
        files = [path]
        if path.is_dir():
            files = sorted(
                f for f in path.rglob("*") if f.suffix in (".yaml", ".yml") and f.is_file()
            )
            if not files:
                suggestion = (
                    "give a directory that holds contracts, receivers or sources (*.yaml, *.yml)"
                )
                problems.append(Problem(str(path), 0, "", "holds no documents", suggestion))
        for file in files:
            if file.resolve() not in seen:  # a file given by name and by its directory counts once
                seen.add(file.resolve())
                yield file


def validated(
    data: Any, location: Location, problems: list[Problem], kinds: Mapping[str, type[Kind]]
) -> Kind | None:
    """A document of one of these kinds; None where something is wrong, which is in `problems`."""
    if not isinstance(data, dict):
        first = f"begin the document with a kind: {', '.join(kinds)}"
        problems.append(location.problem((), "is not a mapping", first))
        return None
    kind = data.get("kind")
    if not isinstance(kind, str) or kind not in kinds:
        message = f"unknown kind {repr(kind)[:80]}" if "kind" in data else "'kind' is missing"
        problems.append(location.problem(("kind",), message, nearest(str(kind), kinds)))
        return None
    told = {(problem.line, problem.path) for problem in problems}
    new: list[Problem] = []
    for at in location.lines:
        if _lacks_value(data, at):
            new.append(_without_value(at, kind, location))
    told_first = {(problem.line, problem.path) for problem in new}
    model = kinds[kind]
    document: Kind | None = None
    try:
        document = model.model_validate(data)
    except ValidationError as error:
        for detail in error.errors(include_url=False):
            problem = _problem(detail, model, data, location)
            if problem and (problem.line, problem.path) not in told_first:
                new.append(problem)
    # What could not be read stands as None in the data: say it once.
    problems += [problem for problem in new if (problem.line, problem.path) not in told]
    return None if new else document


def _lacks_value(data: Any, at: At) -> bool:
    """Whether a key stands there with nothing behind it."""
    if not at or isinstance(at[-1], int):
        return False
    if len(at) > 3 and at[2] in ("schema", "translate"):
        return False  # fields[0].translate.hot: there null is the author's value
    if (at[-1] == "value" and "else" in at) or at[0] == "lookups":
        return False  # so it is there
    return _value_at(data, at) is None


# --- pydantic's errors in the words of the documents -------------------------------------------

_SHOULD_BE: Final = {
    "string_type": ("text", "put it in quotes"),
    "int_type": ("a whole number", "write digits only, without quotes"),
    "float_type": ("a number", "write it without quotes"),
    "bool_type": ("true or false", "write true or false, without quotes"),
    "tuple_type": ("a list", "write [one, two], or a line with '- ' for each"),
    "dict_type": ("a mapping", "write 'key: value' lines"),
    "model_type": ("a mapping", "write 'key: value' lines"),
}
_BOUNDS: Final = {
    "greater_than": ("gt", "more than"),
    "greater_than_equal": ("ge", "at least"),
    "less_than_equal": ("le", "at most"),
}


def _problem(
    error: ErrorDetails, model: type[BaseModel], data: Any, location: Location
) -> Problem | None:
    at = _clean(error["loc"], data)
    context = error.get("ctx", {})
    value = _value_at(data, at)
    match error["type"]:
        case "default_factory_not_called":
            return None  # follows from another error, which is reported
        case "document":
            return location.problem(at, context["message"], context["suggestion"])
        case "missing":
            return location.problem(at, "is missing", "add it")
        case "too_long":
            most = f"has more entries than {context['max_length']:,}, the limit"
            return location.problem(at, most, "split the contract")
        case _ if error["loc"][-1:] == ("[key]",):
            options = re.findall(r"'([^']*)'", context.get("expected", ""))
            return location.problem(at, "unknown key", nearest(str(at[-1]), options))
        case "extra_forbidden":
            known = _known_keys(model, error["loc"][:-1])
            return location.problem(at, "unknown key", nearest(str(at[-1]), known))
        case "literal_error":
            options = re.findall(r"'([^']*)'", context["expected"])
            return location.problem(
                at, f"unknown value {repr(value)[:80]}", nearest(str(value), options)
            )
        case kind if kind in _SHOULD_BE:
            wanted, suggestion = _SHOULD_BE[kind]
            if isinstance(value, (dict, list)) and kind not in ("tuple_type", "dict_type"):
                suggestion = f"write {wanted} in its place"
            return location.problem(at, f"must be {wanted}, not {_kind_of(value)}", suggestion)
        case kind if kind in _BOUNDS:
            name, words = _BOUNDS[kind]
            return location.problem(at, f"must be {words} {context[name]:g}", "change the number")
        case _:
            return location.problem(at, error["msg"], "correct it")


def _clean(loc: tuple[str | int, ...], data: Any) -> At:
    """The steps of pydantic's location that lead through the data; it adds names of its own."""
    at: list[str | int] = []
    for i, step in enumerate(loc):
        if isinstance(step, str) and step != "[key]" and step[:1] == "[":
            continue  # the tag of a union
        inside = isinstance(data, dict) and step in data
        inside |= isinstance(data, list) and isinstance(step, int) and step < len(data)
        if inside:
            data = data[step]
        elif not (isinstance(data, dict) and i == len(loc) - 1 and step != "[key]"):
            continue
        at.append(step)
    return tuple(at)


def _without_value(at: At, kind: str, location: Location) -> Problem:
    written = str(at[-1])
    if kind == "Source" and (written in ROOTS or "." in written or "[" in written):
        return location.problem(
            at,
            "braces without quotes are a mapping in YAML, and no template",
            f'write "{{{written}}}" in quotes for a text, or {written} alone for the value',
        )
    return location.problem(at, "has no value", "give it one, or leave the key out")


def _value_at(data: Any, at: At) -> Any:
    for step in at:
        if isinstance(data, dict):
            data = data.get(step)
        elif isinstance(data, list) and isinstance(step, int):
            data = data[step]
        else:
            return None
    return data


def _known_keys(model: type[BaseModel], loc: tuple[str | int, ...]) -> list[str]:
    for step in loc:
        if step in TAGGED:
            model = TAGGED[str(step)]
        for name, info in model.model_fields.items():
            if step == (info.alias or name):
                model = next(_models(info.annotation), model)
    return [info.alias or name for name, info in model.model_fields.items()]


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _models(argument)


def nearest(word: str, known: Iterable[str]) -> str:
    """The known word that may have been meant; where none is near, all that are known."""
    known = list(known)
    matches = difflib.get_close_matches(word.lower(), [k.lower() for k in known], n=1)
    for candidate in known:
        if matches and candidate.lower() == matches[0]:
            return f"did you mean {candidate!r}?"
    return f"known here: {', '.join(known)}"


def _kind_of(value: Any) -> str:
    match value:
        case None:
            return "nothing"
        case bool():
            return "true or false"
        case int() | float():
            return "a number"
        case str():
            return "text"
        case list():
            return "a list"
        case _:
            return "a mapping"
