"""Writes the function that makes the members of one output, ack or alert action of an entry."""

from typing import Any, Final

from processors.intake.code import Body, by_names
from processors.intake.expressions import Compiler
from processors.intake.making import SHORT
from schemas import paths, templates
from schemas.records import MAX_NAME_BYTES
from schemas.sources import (
    ACK_STATUSES,
    ALERT_ACTIONS,
    LINKS,
    AckOf,
    AlertOf,
    CurrentStage,
    Expr,
    FromValue,
    HandoffOf,
    LiteralValue,
    LookupValue,
    Source,
    TextValue,
    parts_of,
)

_SHOWN: Final = 80  # characters of a path or template that are told
# The members that entries share, in the order in which they are made.
_SHARED: Final = ("task", "workflow", "tool", "id", "stage", "team", "run")
_NEEDED: Final = ("task", "workflow", "tool")
_OF_OUTPUTS: Final = ("stage", "team", "run")
_OF_TASKS: Final = (*_NEEDED, *_OF_OUTPUTS)


class EntryWriter:
    """Writes the function of entry `index` of a source: of a scope and the number of the element
    (from 1 on; 0 without `each`) it makes the members. What it refuses says which member."""

    def __init__(self, compiler: Compiler, source: Source, index: int) -> None:
        self._compiler = compiler
        self._source = source
        self._index = index
        self._emit = source.emit[index]
        self.path = f"emit[{index}]"
        self._body = Body(compiler.code)
        self._bind = compiler.code.bind
        self._places: dict[str, str] = {}  # where each shared member is said

    def write(self) -> str:
        """The name of the function."""
        body, emit = self._body, self._emit
        if emit.when is not None:
            condition = self._condition("when", emit.when)
            body.add(f"if not {condition}:", "    return None")
        body.at(self.path)
        shared = self._shared()
        for which in _NEEDED if emit.alert is None else ():
            self._must_be(which, shared.get(which, "None"))
        told = self._id(shared)
        at, expr = self._stated("occurred_at")
        unit = self._bind(expr.unit if isinstance(expr, FromValue) else None)
        when = body.let(self._value(at, expr))
        body.add(f"if {when} is None:", "    missing()", f"{when} = time_ms({when}, {unit})")
        if emit.alert is not None:
            self._alert(emit.alert, told, when)
        elif emit.ack is not None:
            self._ack(emit.ack, shared, told, when)
        else:
            self._output(shared, told, when)
        body.add("return members")
        return self._compiler.code.function(body.lines, "scope, element", tells="place")

    # --- values ------------------------------------------------------------------------------

    def _stated(self, which: str) -> tuple[str, Any]:
        """A shared member and where it is said; of one that is not, where it could be."""
        at, expr = stated(self._source, self._index, which)
        return (f"{self.path}.{which}" if expr is None else at), expr

    def _value(
        self, at: str, expr: Expr | None, *, words: bool = False, short: bool = False
    ) -> str:
        """The name of the value of a member. `short`: its place is told without what it is."""
        if expr is None:
            self._body.at(at)
            return "None"
        self._compiler.member = at
        self._body.at(at if short else shown(at, expr))
        if self._is_made_once(expr):
            made = self._compiler.function(expr, words=words)
            return self._body.let(f"once({made}, scope)")
        return self._compiler.value(self._body, expr, words=words)

    def _condition(self, which: str, text: str) -> str:
        """A condition of the entry."""
        self._compiler.member = f"{self.path}.{which}"
        self._body.at(self._compiler.member)
        return f"{self._bind(self._compiler.condition(text))}(scope)"

    def _is_made_once(self, expr: Expr) -> bool:
        """Whether no element changes a value, and to make it takes time. A trace tells what is
        followed for each element, so there it is made for each."""
        if self._emit.each is None or self._compiler.trace is not None or _reads_it(expr):
            return False
        if isinstance(expr, str) and not templates.is_template(expr):
            return not by_names(paths.parse(expr))
        return not isinstance(expr, (int, float, LiteralValue))

    def _name(self, at: str, expr: Expr) -> str:
        value = self._body.let(self._value(at, expr))
        self._body.add(
            f"if type({value}) is not str or not 0 < len({value}) <= {SHORT} or {value}.isspace():",
            f"    {value} = name({value})",
        )
        return value

    def _shared(self) -> dict[str, str]:
        """The values of the shared members that are names, by member."""
        found: dict[str, str] = {}
        for which in _SHARED:
            at, expr = self._stated(which)
            self._places[which] = at if expr is None else shown(at, expr)
            if expr is None or isinstance(expr, CurrentStage):
                continue
            if self._emit.ack is not None and which in _OF_OUTPUTS:
                continue
            if self._emit.alert is not None and which in _OF_TASKS:
                continue
            if isinstance(expr, LiteralValue) and _is_name(expr.value):
                found[which] = self._bind(expr.value)
            else:
                found[which] = self._name(at, expr)
        return found

    def _must_be(self, which: str, value: str) -> None:
        place = self._bind(self._places[which])
        self._body.add(f"if {value} is None:", f"    at = {place}", "    missing()")

    def _id(self, shared: dict[str, str]) -> str:
        """The id: of the event, or else of the record, with the entry's number and the element's.

        It does not depend on what else the record leads to, so a changed `when` changes no other
        id.
        """
        body, number = self._body, self._index + 1
        _, expr = self._stated("id")
        if expr is None:
            base = body.let(f"id_of_record({self._bind(self._source.id)}, scope.record)")
        else:
            base = shared["id"]
            self._must_be("id", base)
        if self._emit.each is not None and not (expr is not None and _reads_it(expr)):
            base = body.let(f'f"{{{base}}}#{number}.{{element}}"')
        elif number != 1:
            base = body.let(f'f"{{{base}}}#{number}"')
        elif expr is not None:
            return base
        body.at(self._places["id"])
        body.add(f"check_length({base})")
        return base

    # --- kinds of members --------------------------------------------------------------------

    def _alert(self, alert: AlertOf, told: str, when: str) -> None:
        body, path = self._body, f"{self.path}.alert"
        action = self._known(f"{path}.action", alert.action, ALERT_ACTIONS)
        key = body.let(f"needed({self._value(f'{path}.key', alert.key)})")
        by = body.let(f"needed({self._value(f'{path}.by', alert.by)})")
        self._members(id=told, key=key, action=action, by=by, occurred_at=when)

    def _ack(self, ack: AckOf, shared: dict[str, str], told: str, when: str) -> None:
        body, path = self._body, f"{self.path}.ack"
        status = self._known(f"{path}.status", ack.status, ACK_STATUSES)
        by = body.let(f"needed({self._value(f'{path}.by', ack.by)})")
        task, workflow = shared.get("task", "None"), shared.get("workflow", "None")
        self._members(
            id=told, workflow=workflow, task_id=task, status=status, by=by, occurred_at=when
        )
        if ack.reason is not None:
            reason = self._value(f"{path}.reason", ack.reason, words=True)
            self._may_be("members", "reason", f"reason({reason})")
        else:
            body.at(shown(f"{path}.status", _word(ack.status, ACK_STATUSES)))
        body.add(f'if {status} == "rejected" and not members.get("reason"):', "    no_reason()")
        if ack.receiver is not None:
            receiver = self._value(f"{path}.receiver", ack.receiver)
            self._may_be("members", "receiver", f"name({receiver})")

    def _known(self, at: str, expr: Expr, known: tuple[str, ...]) -> str:
        value = self._value(at, _word(expr, known))
        return self._body.let(f"one_of({value}, {self._bind(known)})")

    def _members(self, **values: str) -> None:
        """The members that are always there."""
        pairs = ", ".join(f'"{which}": {value}' for which, value in values.items())
        self._body.add(f"members = {{{pairs}}}")

    def _may_be(self, members: str, which: str, value: str) -> None:
        """A member that is there where its value is."""
        name = self._body.let(value)
        self._body.add(f"if {name} is not None:", f'    {members}["{which}"] = {name}')

    def _output(self, shared: dict[str, str], told: str, when: str) -> None:
        body, emit = self._body, self._emit
        stage = shared.get("stage")
        if stage is not None:
            self._must_be("stage", stage)
        self._members(
            id=told,
            task_id=shared.get("task", "None"),
            workflow=shared.get("workflow", "None"),
            tool=shared.get("tool", "None"),
            occurred_at=when,
            **({} if stage is None else {"stage": stage}),
        )
        for which in ("team", "run"):
            if which in shared:
                self._may_be("members", which, shared[which])
        self._accepts()
        self._context()
        if emit.retracted:
            body.add(f'members["retracted"] = {self._bind(emit.retracted)}')
        handoffs = [self._handoff(i, handoff) for i, handoff in enumerate(emit.handoff)]
        if handoffs:
            asked = handoffs[0] if len(handoffs) == 1 else f"[{', '.join(handoffs)}]"
            body.add(f'members["handoff"] = {asked}')
        for which in LINKS:
            link = getattr(emit, which)
            if link is not None:
                of = self._bind({} if link.workflow is None else {"workflow": link.workflow})
                found = self._value(f"{self.path}.{which}.tasks", link.tasks)
                found = body.let(f"tasks({found}, {of})")
                body.add(f"if {found}:", f'    members["{which}"] = {found}')

    def _accepts(self) -> None:
        accepts = self._emit.accepts
        if isinstance(accepts, str):
            condition = self._condition("accepts", accepts)
            self._body.add(f"if not {condition}:", '    members["accepts"] = False')
        elif not accepts:
            self._body.add('members["accepts"] = False')

    def _context(self) -> None:
        body, context = self._body, self._emit.context
        if context is None:
            return
        path = f"{self.path}.context"
        made = body.let("{}")
        if context.spread is not None:
            value = self._value(f"{path}.*", context.spread, short=True)
            body.add(f"{made} = spread({value}, {self._bind(frozenset(context.without))})")
        for name, expr in context.named.items():
            value = self._value(f"{path}.{name}", expr, words=True, short=True)
            body.add(f"if {value} is not None:", f"    {made}[{self._bind(name)}] = {value}")
        body.add(f"if {made}:", f'    members["context"] = {made}')

    def _handoff(self, index: int, handoff: HandoffOf) -> str:
        """The name of a handoff that is asked for."""
        many = len(self._emit.handoff) > 1
        path = f"{self.path}.handoff{f'[{index}]' if many else ''}"
        to = self._value(f"{path}.to", handoff.to)
        asked = self._body.let(f'{{"to": needed({to})}}')
        for which, spell in (("contract", "name"), ("part", "name"), ("note", "free_text")):
            expr = getattr(handoff, which)
            if expr is not None:
                value = self._value(f"{path}.{which}", expr, words=which == "note")
                self._may_be(asked, which, f"{spell}({value})")
        if handoff.carries != "context":
            self._body.add(f'{asked}["carries"] = {self._bind(handoff.carries)}')
        return asked


def _word(expr: Expr, known: tuple[str, ...]) -> Expr:
    """One of the words that are known stands for itself."""
    return LiteralValue(value=expr) if isinstance(expr, str) and expr in known else expr


def _is_name(value: Any) -> bool:
    """Whether a value is a name as it is."""
    return type(value) is str and 0 < len(value.encode()) <= MAX_NAME_BYTES


def shown(at: str, expr: Expr) -> str:
    """The place of a member in the document, and what it is made of where that is short:
    `emit[1].handoff.to (value.team)`."""
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


def _reads_it(expr: Expr) -> bool:
    """Whether an expression reads the element of `each`."""
    match expr:
        case str() if not templates.is_template(expr):
            return paths.parse(expr).top == "it"
        case str() | TextValue():
            text = expr if isinstance(expr, str) else expr.text
            return any(
                not isinstance(part, str) and part.top == "it" for part in templates.parse(text)
            )
    return any(map(_reads_it, parts_of(expr)))
