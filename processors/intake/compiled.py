"""A source made ready for its records: functions that are written for it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from processors.intake.decoders import VALUE_DECODERS, json_values
from processors.intake.entries import EntryWriter, shown, stated
from processors.intake.expressions import Compiler, Condition, Trace
from processors.intake.mapped import Decoded, Skipped
from processors.intake.reads import read_of
from processors.intake.scope import Make, Scope
from processors.intake.values import name_text, reader_of
from schemas.alerts import ACTIONS
from schemas.flow import Record, Refused
from schemas.sources import (
    Emit,
    Expr,
    FirstValue,
    FromValue,
    LiteralValue,
    LookupValue,
    Source,
)

TOOL_OUTPUTS: Final = "handoff.tool-outputs"
ACKS: Final = "handoff.acks"
Decode = Callable[[Record], Decoded | Skipped]  # raises Refused


@dataclass(frozen=True)
class MadeMember:
    """What makes one member. `path` is its place in the document, and what it is made of where that
    is short: `emit[1].each (value.items)`."""

    path: str
    make: Make


@dataclass(frozen=True)
class CompiledEntry:
    """An entry of `emit`. `each` makes the elements. `make` makes the members of what goes to
    `topic`, of a scope and the number of the element (from 1 on; 0 without `each`); None where
    its `when` does not hold. `key` is the member that the record has as its key."""

    path: str
    each: MadeMember | None
    make: Callable[[Scope, int], dict[str, Any] | None]
    topic: str
    key: str


@dataclass(frozen=True)
class CompiledSource:
    """A source ready to map records.

    `decode` makes one value of a record, as far as the source reads it; None where the decoder
    makes spans. `workflows` are those that it writes to; None where a record decides that.
    `override` has members of outputs that the decoder made.
    """

    source: Source
    decode: Decode | None
    workflows: frozenset[str] | None
    lets: dict[str, Make]
    when: Condition | None
    entries: tuple[CompiledEntry, ...]
    override: dict[str, MadeMember]
    override_unit: str | None  # of occurred_at


def compile_source(source: Source, trace: Trace | None = None) -> CompiledSource:
    """Compile a source. Raises ExpressionError or KeyError for one that lint refuses, and for no
    other. `trace` is told of every path that is followed."""
    compiler = Compiler(source.let, source.lookups, trace)

    def make(at: str, expr: Expr) -> Make:
        compiler.member = at
        made: Make = compiler.code.made(compiler.function(expr))
        return made

    def member(at: str, expr: Expr) -> MadeMember:
        return MadeMember(shown(at, expr), make(at, expr))

    def entry(index: int, emit: Emit) -> CompiledEntry:
        writer = EntryWriter(compiler, source, index)
        return CompiledEntry(
            writer.path,
            each=None if emit.each is None else member(f"{writer.path}.each", emit.each),
            make=compiler.code.made(writer.write()),
            topic=_topic(emit),
            key="task_id" if emit.alert is None else "key",
        )

    lets = {name: make(f"let.{name}", expr) for name, expr in source.let.items()}
    compiler.member = "when"
    time = source.override.get("occurred_at")
    return CompiledSource(
        source,
        _decode(source),
        _workflows(source),
        lets=lets,
        when=None if source.when is None else compiler.condition(source.when),
        entries=tuple(entry(index, emit) for index, emit in enumerate(source.emit)),
        override={name: member(f"override.{name}", expr) for name, expr in source.override.items()},
        override_unit=time.unit if isinstance(time, FromValue) else None,
    )


def _topic(emit: Emit) -> str:
    if emit.alert is not None:
        return ACTIONS
    return TOOL_OUTPUTS if emit.ack is None else ACKS


def _decode(source: Source) -> Decode | None:
    name, options = source.decode.name, source.decode.options
    decoder = VALUE_DECODERS.get(name)
    if decoder is None:
        return None
    if name != "json":  # the others make members that the JSON has elsewhere, or not at all
        return lambda record: decoder(record, options)
    shape, key = read_of(source)
    return json_values.decoder(reader_of(shape), key=key)


def _workflows(source: Source) -> frozenset[str] | None:
    found: set[str] = set()
    exprs = [
        stated(source, index, "workflow")[1]
        for index, emit in enumerate(source.emit)
        if emit.alert is None
    ]
    for expr in [*exprs, *filter(None, [source.override.get("workflow")])]:
        values = _fixed(source, expr)
        if values is None:
            return None
        found |= values
    return frozenset(found) if source.emit or "workflow" in source.override else None


def _fixed(source: Source, expr: Expr) -> set[str] | None:
    """The names that an expression can give, where that does not depend on a record. What is no
    name is refused with each record, and leads to no workflow."""
    match expr:
        case LiteralValue(value=value):
            given = [value]
        case LookupValue(lookup=name, else_=otherwise):
            given = list(source.lookups.get(name, {}).values())
            if isinstance(otherwise, LiteralValue):
                given.append(otherwise.value)
        case FirstValue(first=exprs):
            found = [_fixed(source, each) for each in exprs]
            return None if None in found else set().union(*[each or set() for each in found])
        case _:
            return None
    return {text for value in given if (text := _name(value)) is not None}


def _name(value: Any) -> str | None:
    try:
        return name_text(value)
    except Refused:
        return None
