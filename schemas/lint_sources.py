"""What can be told of sources without their traffic: `lint_sources`."""

import difflib
import re
from collections.abc import Iterable, Iterator
from typing import Any, Final

from schemas import paths, templates
from schemas.cel.errors import ExpressionError
from schemas.cel.expression import compile_expression
from schemas.documents import UNKNOWN
from schemas.lint import in_order
from schemas.loading import Documents, nearest
from schemas.printable import listed
from schemas.source_decoders import OUTPUT_DECODERS
from schemas.sources import (
    ACK_STATUSES,
    ALERT_ACTIONS,
    LINKS,
    RECORD_MEMBERS,
    ROOTS,
    CurrentStage,
    Emit,
    Expr,
    FirstValue,
    FromValue,
    LiteralValue,
    LookupValue,
    Source,
    TextValue,
)
from schemas.yaml_source import At, Location, Problem

_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_CEL_WORDS: Final = ("true", "false", "null", "in", "has", "size")
_TOPIC: Final = re.compile(r"[A-Za-z0-9._-]{1,249}")
_NEEDED: Final = ("task", "workflow", "tool", "occurred_at")
_SHARED: Final = (*_NEEDED, "team", "stage", "id", "run")
_OVERRIDDEN: Final = ("task", "workflow", "tool", "team", "stage", "occurred_at", "id", "run")
_NOT_OF_ACKS: Final = ("stage", "context", "retracted", "handoff", "team", "run", *LINKS)
_MOST_RETRACTED: Final = 256


def lint_sources(documents: Documents) -> list[Problem]:
    """Problems of the sources, errors first, then by file and line. A source without an error
    compiles. Where contracts or receivers are at hand, what no one of them knows is a hint."""
    problems: list[Problem] = []
    for source in documents.intake_sources:
        problems += _Linter(source, documents).problems()
    return in_order(problems)


class _Linter:
    def __init__(self, source: Source, documents: Documents) -> None:
        self._source = source
        self._documents = documents
        self._location: Location = documents.location(source)
        self._read: set[str] = set()  # the roots, names and look-ups that something reads
        self._found: list[Problem] = []

    def problems(self) -> list[Problem]:
        """All that is wrong with the source."""
        source = self._source
        self._filled_in()
        self._topics()
        self._decoder()
        self._lets()
        if source.when is not None:
            self._condition(("when",), source.when, it=False)
        elements = bool(source.emit) and all(emit.each is not None for emit in source.emit)
        for name in _SHARED:
            self._shared(("defaults", name), getattr(source.defaults, name), it=elements)
        for i, emit in enumerate(source.emit):
            self._entry(i, emit)
        for name, expr in source.override.items():
            self._expression(("override", name), expr, it=False, time=name == "occurred_at")
        self._unused()
        self._known_elsewhere()
        return self._found

    def _tell(self, at: At, message: str, suggestion: str, level: Any = "error") -> None:
        self._found.append(self._location.problem(at, message, suggestion, level))

    # --- the source as a whole -----------------------------------------------------------------

    def _filled_in(self) -> None:
        """What a draft leaves to a person."""
        source = self._source
        if UNKNOWN in (source.owner.name, source.owner.contact):
            message = "the owner is not filled in"
            self._tell(("owner",), message, "name the person who is told when it fails", "warning")
        if UNKNOWN in source.topic:
            suggestion = "name the topic that the records are on"
            self._tell(("topic",), "the topic is not filled in", suggestion, "warning")

    def _topics(self) -> None:
        for i, topic in enumerate(self._source.topic):
            at: At = ("topic", i) if ("topic", i) in self._location.lines else ("topic",)
            if topic.startswith("handoff."):
                self._tell(
                    at,
                    f"{topic!r} is a topic of the processors, or of a receiver",
                    "name a topic that other tools write; ours are read already",
                )
            elif not _TOPIC.fullmatch(topic) or topic in (".", ".."):
                self._tell(
                    at,
                    f"{topic[:80]!r} is no name of a Kafka topic",
                    "use letters, digits, '.', '_' and '-'; patterns are not known here",
                )

    def _decoder(self) -> None:
        source, name = self._source, self._source.decode.name
        if name in OUTPUT_DECODERS:
            if source.emit:
                message = f"the decoder {name} makes outputs itself, so nothing emits here"
                self._tell(
                    ("emit",), message, "leave 'emit' out, and replace members by 'override'"
                )
            for member in source.override:
                if member not in _OVERRIDDEN:
                    self._tell(("override", member), "unknown member", nearest(member, _OVERRIDDEN))
            return
        if not source.emit:
            self._tell(("emit",), "is missing", "say what a record means: one entry at least")
        if source.override:
            message = f"the decoder {name} makes no outputs that could be overridden"
            self._tell(("override",), message, "say it in 'emit' or 'defaults'")

    def _lets(self) -> None:
        known: list[str] = []
        for name, expr in self._source.let.items():
            at = ("let", name)
            if name in ROOTS:
                self._tell(at, f"{name!r} is a root, which is there already", "take another name")
            elif not _NAME.fullmatch(name) or name in _CEL_WORDS:
                message = f"{name!r} is no name that conditions can use"
                self._tell(at, message, "use letters, digits and '_', a letter first")
            self._expression(at, expr, it=False, lets=known)
            known.append(name)

    def _unused(self) -> None:
        for name in self._source.let:
            if name not in self._read:
                self._tell(("let", name), "nothing reads this name", "remove it", "warning")
        for name in self._source.lookups:
            if f"lookup {name}" not in self._read:
                at = ("lookups", name)
                self._tell(at, "nothing looks anything up here", "remove it", "warning")

    # --- an entry ------------------------------------------------------------------------------

    def _entry(self, i: int, emit: Emit) -> None:
        at: At = ("emit", i)
        it = emit.each is not None
        if emit.when is not None:
            self._condition((*at, "when"), emit.when, it=it)
        if emit.each is not None:
            self._expression((*at, "each"), emit.each, it=False)
        for name in _SHARED:
            self._shared((*at, name), getattr(emit, name), it=it)
        if isinstance(emit.accepts, str):
            self._condition((*at, "accepts"), emit.accepts, it=it)
        if emit.context is not None:
            if emit.context.spread is not None:
                self._expression((*at, "context", "*"), emit.context.spread, it=it)
            elif emit.context.without:
                message = "leaves names out, and nothing is spread"
                self._tell((*at, "context", "without"), message, "add '*', or remove it", "warning")
            for name, expr in emit.context.named.items():
                self._expression((*at, "context", name), expr, it=it)
        if len(emit.retracted) > _MOST_RETRACTED or ("*" in emit.retracted and emit.retracted[1:]):
            message = f"names more than {_MOST_RETRACTED}, or '*' beside others"
            self._tell((*at, "retracted"), message, "'*' alone is every name")
        self._handoffs(at, emit, it)
        self._links(at, emit, it)
        self._ack(at, emit, it)
        self._alert(at, emit, it)
        self._complete(at, emit)

    def _links(self, at: At, emit: Emit, it: bool) -> None:
        for name in LINKS:
            other = getattr(emit, name)
            if other is None:
                continue
            self._expression((*at, name, "tasks"), other.tasks, it=it)
            if other.workflow is None:
                self._tell(
                    (*at, name),
                    "no workflow is named, so these are tasks of the same one",
                    "a ticket and an issue are in two: say workflow: ...",
                    "warning",
                )

    def _handoffs(self, at: At, emit: Emit, it: bool) -> None:
        stage = self._stated(emit, "stage")
        for j, handoff in enumerate(emit.handoff):
            place = (*at, "handoff", j)
            if place not in self._location.lines:
                place = (*at, "handoff")
            for name in ("to", "contract", "part", "note"):
                if (expr := getattr(handoff, name)) is not None:
                    self._expression((*place, name), expr, it=it)
            if stage is not None and stage == handoff.to and not isinstance(stage, LiteralValue):
                self._tell(
                    (*place, "to"),
                    "the stage that hands off is made of the same as the receiver: many tools show "
                    "the state after a change, and then the receiver becomes the sender",
                    "take the stage before the change, or say stage: {current: true}",
                    "warning",
                )
            if handoff.carries == "history" and self._stated(emit, "run") is None:
                self._tell(
                    (*place, "carries"),
                    "a history is that of a run, and no run is named",
                    "add run: with the path that names the run, or say carries: record",
                    "warning",
                )

    def _ack(self, at: At, emit: Emit, it: bool) -> None:
        ack = emit.ack
        if ack is None:
            return
        place = (*at, "ack")
        self._word((*place, "status"), ack.status, ACK_STATUSES, it)
        for name in ("by", "reason", "receiver"):
            if (expr := getattr(ack, name)) is not None:
                self._expression((*place, name), expr, it=it)
        if ack.status == "rejected" and ack.reason is None:
            message = "what is rejected needs a reason, so each such record is a dead letter"
            self._tell((*place, "status"), message, "add reason, such as {value: rejected there}")
        self._alone(place, emit, "an ack", _NOT_OF_ACKS)

    def _alert(self, at: At, emit: Emit, it: bool) -> None:
        alert = emit.alert
        if alert is None:
            return
        place = (*at, "alert")
        self._word((*place, "action"), alert.action, ALERT_ACTIONS, it)
        for name in ("key", "by"):
            self._expression((*place, name), getattr(alert, name), it=it)
        self._alone(place, emit, "an alert action", (*_NOT_OF_ACKS, "task", "workflow", "ack"))

    def _word(self, at: At, expr: Expr, known: tuple[str, ...], it: bool) -> None:
        """A member that is one of some words, or what makes one of them."""
        word = expr if isinstance(expr, str) and expr.isalpha() else None
        if word is None or word in (*ROOTS, *self._source.let):
            self._expression(at, expr, it=it)
        elif word not in known:
            self._tell(at, f"unknown {at[-1]} {word[:80]!r}", nearest(word, known))

    def _alone(self, at: At, emit: Emit, what: str, none_of: tuple[str, ...]) -> None:
        """Nothing of an output stands beside what is none."""
        told = [name for name in none_of if getattr(emit, name)]
        if told or emit.accepts is not True:
            names = listed([*told, *(["accepts"] if emit.accepts is not True else [])])
            message = f"the entry is {what}, which has no {names}"
            self._tell(at, message, "write a second entry with the same 'when' for the output")

    def _complete(self, at: At, emit: Emit) -> None:
        if self._source.decode.name in OUTPUT_DECODERS:
            return
        for name in _NEEDED if emit.alert is None else ("occurred_at",):
            if self._stated(emit, name) is None:
                suggestion = f"add it here, or under defaults: {_EXAMPLES[name]}"
                self._tell((*at, name), "is missing", suggestion)
        apart = emit.ack is not None or emit.alert is not None
        if not apart and self._stated(emit, "stage") is None:
            self._tell(
                at,
                "the entry has neither a stage nor an ack",
                "say at which stage the tool works: stage: {value: ...}, a path, a look-up, or "
                "{current: true} where the record does not tell",
            )
        if self._stated(emit, "id") is None:
            self._tell(
                (*at, "id"),
                "the event has no id of its own, so a record that is sent twice counts twice",
                "take the id that the tool gives to the event, if there is one",
                "hint",
            )

    def _stated(self, emit: Emit, name: str) -> Any:
        own = getattr(emit, name)
        return own if own is not None else getattr(self._source.defaults, name)

    def _shared(self, at: At, expr: Any, *, it: bool) -> None:
        if expr is not None and not isinstance(expr, CurrentStage):
            self._expression(at, expr, it=it, time=at[-1] == "occurred_at")

    # --- expressions ---------------------------------------------------------------------------

    def _expression(
        self, at: At, expr: Expr, *, it: bool, lets: Iterable[str] | None = None, time: bool = False
    ) -> None:
        names = self._names(it, lets)
        match expr:
            case str() if templates.is_template(expr):
                self._template(at, expr, names)
            case str():
                self._path(at, expr, names)
            case LiteralValue(value=None):
                self._tell((*at, "value"), "null is no value", "leave the member out")
            case LiteralValue(value=value) if value == UNKNOWN:
                self._tell(at, "is not filled in", "say what the draft could not guess", "warning")
            case TextValue(text=text):
                self._template((*at, "text"), text, names)
            case FromValue():
                self._expression((*at, "from"), expr.from_, it=it, lets=lets)
                if expr.text is not None:
                    self._template((*at, "text"), expr.text, ["it"])
                if expr.unit is not None and not time:
                    message = "only a time has a unit"
                    self._tell((*at, "unit"), message, "leave it out, or say it of occurred_at")
            case FirstValue():
                for i, each in enumerate(expr.first):
                    self._expression((*at, "first", i), each, it=it, lets=lets)
            case LookupValue():
                self._look_up(at, expr)
                self._expression((*at, "by"), expr.by, it=it, lets=lets)

    def _look_up(self, at: At, expr: LookupValue) -> None:
        self._read.add(f"lookup {expr.lookup}")
        if expr.lookup not in self._source.lookups:
            known = self._source.lookups
            suggestion = nearest(expr.lookup, known) if known else "write it under 'lookups'"
            self._tell((*at, "lookup"), f"there is no look-up {expr.lookup[:80]!r}", suggestion)
        if expr.else_ is None:
            self._tell(
                at,
                "a record whose key this look-up lacks becomes a dead letter",
                "say it (else: dead_letter), or leave it out (else: skip), or give a value "
                "(else: {value: ...})",
                "hint",
            )

    def _names(self, it: bool, lets: Iterable[str] | None) -> list[str]:
        roots = [root for root in ROOTS if it or root != "it"]
        return [*roots, *(self._source.let if lets is None else lets)]

    def _path(self, at: At, text: str, names: list[str]) -> None:
        try:
            path = paths.parse(text)
        except ExpressionError as error:
            self._tell(at, error.message, f"{error.suggestion}\n{error.place}")
            return
        self._known(at, path, names, bare=True)

    def _template(self, at: At, text: str, names: list[str]) -> None:
        try:
            parts = templates.parse(text)
        except ExpressionError as error:
            self._tell(at, error.message, f"{error.suggestion}\n{error.place}")
            return
        for part in parts:
            if not isinstance(part, str):
                self._known(at, part, names, bare=False)
        if all(isinstance(part, str) for part in parts) and at[-1] != "text":
            suggestion = "write {value: ...} for a fixed text"
            self._tell(at, "the template has no path in it", suggestion, "warning")

    def _known(self, at: At, path: paths.Path, names: list[str], *, bare: bool) -> None:
        self._read.add(path.top)
        if path.top not in names:
            self._unknown(at, path.top[:80], names, path if bare else None)
        elif path.top == "record" and path.rest:
            step = path.rest[0]
            if len(path.rest) > 1 or step not in RECORD_MEMBERS:
                message = f"a record has no {path.name.removeprefix('record.')[:80]!r}"
                self._tell(at, message, nearest(str(step), RECORD_MEMBERS))

    def _unknown(self, at: At, name: str, names: list[str], bare: paths.Path | None) -> None:
        if name == "it":
            message = "'it' is an element of 'each', and there is none here"
            self._tell(at, message, "add 'each' to the entry, or take another root")
            return
        near = difflib.get_close_matches(name, names, n=1)
        if name in self._source.let:
            suggestion = "move it behind the names that it reads"
            self._tell(at, f"{name!r} is bound further down", suggestion)
            return
        if near:
            suggestion = f"did you mean {near[0]!r}?"
        else:
            suggestion = f"begin with one of: {', '.join(names)}"
            if bare is not None:
                suggestion = f"{suggestion}; for a fixed text write {{value: {bare.name[:80]}}}"
        self._tell(at, f"{name!r} is neither a root nor a name of 'let'", suggestion)

    def _condition(self, at: At, text: str, *, it: bool) -> None:
        names = self._names(it, None)
        try:
            expression = compile_expression(text, frozenset(names))
        except ExpressionError as error:
            self._tell(at, error.message, f"{error.suggestion}\n{error.place}")
            return
        self._read |= expression.reads
        if not expression.reads:
            message = "reads nothing of the record, so it says the same of every one"
            self._tell(at, message, "read the record: value.<name>", "warning")

    # --- beside contracts and receivers --------------------------------------------------------

    def _known_elsewhere(self) -> None:
        contracts, receivers = self._documents.contracts, self._documents.receivers
        stages = {s for c in contracts for s in (*c.from_.stage, *filter(None, [c.to.stage]))}
        ids = {name for r in receivers for name in (r.id, *r.aliases)}
        ids |= {contract.to.receiver for contract in contracts} if receivers else set()
        for i, emit in enumerate(self._source.emit):
            if contracts and stages != {"*"}:
                what = "no contract names the stage"
                self._fixed(("emit", i, "stage"), emit.stage, stages, what)
            for handoff in emit.handoff if receivers else ():
                what = "no receiver is registered here as"
                self._fixed(("emit", i, "handoff", "to"), handoff.to, ids, what)

    def _fixed(self, at: At, expr: Any, known: set[str], what: str) -> None:
        """Fixed names that an expression can give, and nobody knows."""
        for place, name in self._names_of(at, expr):
            if isinstance(name, str) and name not in known:
                suggestion = nearest(name, sorted(known)[:20])
                self._tell(place, f"{what} {name[:80]!r}", suggestion, "hint")

    def _names_of(self, at: At, expr: Any) -> Iterator[tuple[At, Any]]:
        match expr:
            case LiteralValue(value=value):
                yield (*at, "value"), value
            case LookupValue(lookup=table, else_=otherwise):
                for term, value in self._source.lookups.get(table, {}).items():
                    yield ("lookups", table, term), value
                if isinstance(otherwise, LiteralValue):
                    yield (*at, "else", "value"), otherwise.value
            case FirstValue(first=exprs):
                for i, each in enumerate(exprs):
                    yield from self._names_of((*at, "first", i), each)


_EXAMPLES: Final = {
    "task": "a path such as value.issue.key",
    "workflow": "{value: support-ticket}",
    "tool": "{value: helpdesk}",
    "occurred_at": "a path such as value.created_at, or record.timestamp",
}
