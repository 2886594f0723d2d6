"""A source made ready for its records: paths, templates and conditions as closures."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from processors.intake.decoders import VALUE_DECODERS, json_values
from processors.intake.expressions import Compiler, Condition, Trace, once
from processors.intake.mapped import Decoded, Skipped
from processors.intake.reads import read_of
from processors.intake.scope import Make
from processors.intake.values import name_text, reader_of
from schemas import paths, templates
from schemas.flow import Record
from schemas.records import MAX_NAME_BYTES
from schemas.sources import (
    ACK_STATUSES,
    ALERT_ACTIONS,
    LINKS,
    ROOTS,
    AckOf,
    AlertOf,
    CurrentStage,
    Emit,
    Expr,
    FirstValue,
    FromValue,
    HandoffOf,
    LiteralValue,
    LookupValue,
    Source,
    TextValue,
    parts_of,
)

Decode = Callable[[Record], Decoded | Skipped]  # raises Refused
_SHOWN: Final = 80  # characters of a path or template that are told
# The members that entries share, in the order in which they are made.
SHARED: Final = ("task", "workflow", "tool", "occurred_at", "id", "stage", "team", "run")


_NEEDED: Final = ("task", "workflow", "tool")
_OF_OUTPUTS: Final = ("stage", "team", "run")
_OF_TASKS: Final = ("task", "workflow", "tool", *_OF_OUTPUTS)


@dataclass(frozen=True)
class MadeMember:
    """What makes one member. `path` is its place in the document, and what it is made of where that
    is short: `emit[1].handoff.to (value.team)`."""

    path: str
    make: Make


@dataclass(frozen=True)
class CompiledHandoff:
    to: MadeMember
    optional: tuple[tuple[str, MadeMember], ...]  # contract, part and note, as far as they are said
    carries: str


@dataclass(frozen=True)
class CompiledLink:
    """Other tasks: `which` member of an output names them."""

    which: str
    tasks: MadeMember
    workflow: str | None


@dataclass(frozen=True)
class CompiledAck:
    status: MadeMember
    by: MadeMember
    reason: MadeMember | None
    receiver: MadeMember | None


@dataclass(frozen=True)
class CompiledAlert:
    key: MadeMember
    action: MadeMember
    by: MadeMember


@dataclass(frozen=True)
class CompiledEntry:
    """An entry of `emit`. `number` counts from 1; `id_of_element`: the id reads `it`.

    Of its shared `members` some are `fixed` names, the same for every record, and `names` are the
    others that are names. Every record must have those of `needed`. `told` are those that an output
    has beside its task and time.
    """

    number: int
    path: str
    when: Condition | None
    each: MadeMember | None
    members: dict[str, MadeMember]
    fixed: dict[str, str | None]
    names: tuple[tuple[str, MadeMember], ...]
    needed: tuple[str, ...]
    told: tuple[str, ...]
    unit: str | None  # of occurred_at
    id_of_element: bool
    accepts: bool | Condition
    spread: Make | None
    without: frozenset[str]
    context: tuple[tuple[str, Make], ...]
    retracted: tuple[str, ...]
    handoffs: tuple[CompiledHandoff, ...]
    links: tuple[CompiledLink, ...]
    ack: CompiledAck | None
    alert: CompiledAlert | None


@dataclass(frozen=True)
class CompiledSource:
    """A source ready to map records.

    `decode` makes one value of a record, as far as the source reads it; None where the decoder
    makes spans. `workflows` are those that it writes to; None where a record decides that.
    `exact`: no let reads JSON within text, which may hold any number. `override` has members of
    outputs that the decoder made.
    """

    source: Source
    decode: Decode | None
    workflows: frozenset[str] | None
    exact: bool
    lets: dict[str, Make]
    when: Condition | None
    entries: tuple[CompiledEntry, ...]
    override: dict[str, MadeMember]
    override_unit: str | None  # of occurred_at


def compile_source(source: Source, trace: Trace | None = None) -> CompiledSource:
    """Compile a source. Raises ExpressionError or KeyError for one that lint refuses, and for no
    other. `trace` is told of every path that is followed."""
    compiler = Compiler(frozenset((*ROOTS, *source.let)), source.lookups, trace)
    lets: dict[str, Make] = {}
    for name, expr in source.let.items():
        compiler.member = f"let.{name}"
        lets[name] = compiler.expression(expr)
    compiler.member = "when"
    when = None if source.when is None else compiler.condition(source.when)
    entries = tuple(_entry(compiler, source, i, emit) for i, emit in enumerate(source.emit))
    override: dict[str, MadeMember] = {}
    for name, expr in source.override.items():
        compiler.member = f"override.{name}"
        override[name] = MadeMember(_shown(compiler.member, expr), compiler.expression(expr))
    return CompiledSource(
        source,
        _decode(source),
        _workflows(source),
        exact=not any(_reads_json(expr) for expr in source.let.values()),
        lets=lets,
        when=when,
        entries=entries,
        override=override,
        override_unit=_unit(source.override.get("occurred_at")),
    )


def _decode(source: Source) -> Decode | None:
    name, options = source.decode.name, source.decode.options
    decoder = VALUE_DECODERS.get(name)
    if decoder is None:
        return None
    if name != "json":  # the others make members that the JSON has elsewhere, or not at all
        return lambda record: decoder(record, options)
    shape, key = read_of(source)
    read = reader_of(shape)
    return lambda record: json_values.decode(record, options, read, key=key)


def _unit(expr: Expr | None) -> str | None:
    return expr.unit if isinstance(expr, FromValue) else None


def _entry(compiler: Compiler, source: Source, index: int, emit: Emit) -> CompiledEntry:
    path = f"emit[{index}]"

    def condition(name: str, text: str) -> Condition:
        compiler.member = f"{path}.{name}"
        return compiler.condition(text)

    def member(at: str, expr: Expr, *, words: bool = False) -> MadeMember:
        compiler.member = at
        make = compiler.expression(expr, words=words)
        return MadeMember(_shown(at, expr), once(make) if shared(expr) else make)

    def shared(expr: Expr) -> bool:
        """Whether no element changes it. A trace tells what is followed for each of them."""
        return emit.each is not None and compiler.trace is None and not reads_it(expr)

    members: dict[str, MadeMember] = {}
    fixed: dict[str, str | None] = {}
    unit = None
    for name in SHARED:
        at, expr = stated(source, index, name)
        if expr is None or isinstance(expr, CurrentStage):
            continue
        if emit.ack is not None and name in _OF_OUTPUTS:
            continue
        if emit.alert is not None and name in _OF_TASKS:
            continue
        members[name] = member(at, expr)
        if isinstance(expr, LiteralValue) and type(expr.value) is str and _is_name(expr.value):
            fixed[name] = expr.value
        if name == "occurred_at":
            unit = _unit(expr)
    context = emit.context
    spread = None
    if context is not None and context.spread is not None:
        spread = member(f"{path}.context.*", context.spread).make
    named = []
    for name, expr in context.named.items() if context is not None else ():
        named.append((name, member(f"{path}.context.{name}", expr, words=True).make))
    _, id_ = stated(source, index, "id")
    return CompiledEntry(
        number=index + 1,
        path=path,
        when=None if emit.when is None else condition("when", emit.when),
        each=None if emit.each is None else member(f"{path}.each", emit.each),
        members=members,
        fixed=fixed,
        names=tuple(
            (name, made)
            for name, made in members.items()
            if name not in fixed and name != "occurred_at"
        ),
        needed=tuple(name for name in _NEEDED if name not in fixed and emit.alert is None),
        told=tuple(name for name in _OF_OUTPUTS if name in members),
        unit=unit,
        id_of_element=id_ is not None and reads_it(id_),
        accepts=condition("accepts", emit.accepts)
        if isinstance(emit.accepts, str)
        else emit.accepts,
        spread=spread,
        without=frozenset(context.without if context is not None else ()),
        context=tuple(named),
        retracted=emit.retracted,
        handoffs=tuple(
            _handoff(member, f"{path}.handoff{f'[{i}]' if len(emit.handoff) > 1 else ''}", each)
            for i, each in enumerate(emit.handoff)
        ),
        links=tuple(
            CompiledLink(which, member(f"{path}.{which}.tasks", other.tasks), other.workflow)
            for which in LINKS
            if (other := getattr(emit, which)) is not None
        ),
        ack=None if emit.ack is None else _ack(member, f"{path}.ack", emit.ack),
        alert=None if emit.alert is None else _alert(member, f"{path}.alert", emit.alert),
    )


def _is_name(text: str) -> bool:
    return 0 < len(text.encode()) <= MAX_NAME_BYTES


def _shown(at: str, expr: Expr) -> str:
    match expr:
        case FromValue(from_=text) | LookupValue(by=text) | TextValue(text=text):
            pass
        case _:
            text = expr
    return f"{at} ({text})" if isinstance(text, str) and len(text) <= _SHOWN else at


def stated(source: Source, index: int, name: str) -> tuple[str, Any]:
    """A shared member of an entry, its own or that of `defaults`, and where it is said."""
    own = getattr(source.emit[index], name)
    if own is not None:
        return f"emit[{index}].{name}", own
    return f"defaults.{name}", getattr(source.defaults, name)


def _handoff(member: Callable[..., MadeMember], path: str, handoff: HandoffOf) -> CompiledHandoff:
    optional = [
        (name, member(f"{path}.{name}", expr, words=name == "note"))
        for name in ("contract", "part", "note")
        if (expr := getattr(handoff, name)) is not None
    ]
    return CompiledHandoff(member(f"{path}.to", handoff.to), tuple(optional), handoff.carries)


def _ack(member: Callable[..., MadeMember], path: str, ack: AckOf) -> CompiledAck:
    status = ack.status
    if isinstance(status, str) and status in ACK_STATUSES:
        status = LiteralValue(value=status)
    return CompiledAck(
        member(f"{path}.status", status),
        member(f"{path}.by", ack.by),
        None if ack.reason is None else member(f"{path}.reason", ack.reason, words=True),
        None if ack.receiver is None else member(f"{path}.receiver", ack.receiver),
    )


def _alert(member: Callable[..., MadeMember], path: str, alert: AlertOf) -> CompiledAlert:
    action = alert.action
    if isinstance(action, str) and action in ALERT_ACTIONS:
        action = LiteralValue(value=action)
    return CompiledAlert(
        member(f"{path}.key", alert.key),
        member(f"{path}.action", action),
        member(f"{path}.by", alert.by),
    )


def reads_it(expr: Expr) -> bool:
    """Whether an expression reads the element of `each`."""
    match expr:
        case str() if not templates.is_template(expr):
            return paths.parse(expr).top == "it"
        case str() | TextValue():
            text = expr if isinstance(expr, str) else expr.text
            return any(
                not isinstance(part, str) and part.top == "it" for part in templates.parse(text)
            )
    return any(map(reads_it, parts_of(expr)))


def _reads_json(expr: Expr) -> bool:
    return (isinstance(expr, FromValue) and expr.json_) or any(map(_reads_json, parts_of(expr)))


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
    """The names that an expression can give, where that does not depend on a record."""
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
    return {text for value in given if (text := name_text(value)) is not None}
