"""What one contract says that can never be so: deadlines, paths and kinds without effect.

Each finding is certain from the contract (and its receiver) alone. A contract with one of these is
readable and may be registered; it does not do what its author meant.
"""

import re
from collections.abc import Iterator

import msgspec

from schemas import paths
from schemas.cel.errors import ExpressionError
from schemas.cel.expression import EvaluationError, Expression, compile_expression
from schemas.documents import AcceptTools, HandoffContract, Receiver
from schemas.json_schema import MOST_TRIED, Validator
from schemas.printable import listed
from schemas.records import ViolationKind
from schemas.values import format_duration
from schemas.yaml_source import Location, Problem

# Opened when the handoff has been sent, or is held already: too late to hold it.
_TOO_LATE: dict[ViolationKind, str] = {
    "context_reentered": "it opens when the package has been sent",
    "handoff_missing": "a handoff that nobody declared has happened already",
    "not_accepted": "it opens when the package has been sent",
    "not_completed": "it opens when the package has been sent",
    "rejected": "it opens when the package has been sent",
    "held_too_long": "it opens when the package is held already",
    "handoff_loop": "it is told, and the task goes on",
}
_ABOUT_REQUIRED: tuple[ViolationKind, ...] = (
    "context_dropped",
    "context_empty",
    "context_unstructured",
    "context_retracted",
    "never_captured",
)


def lint_contract(
    contract: HandoffContract, receiver: Receiver | None, location: Location
) -> Iterator[Problem]:
    """The problems of one contract; `receiver` is its own, where that is known."""
    yield from _deadlines(contract, receiver, location)
    yield from _acceptance(contract, location)
    yield from _paths(contract, location)
    yield from _dead_paths(contract, location)
    yield from _sameness(contract, location)
    yield from _translations(contract, location)
    yield from _expressions(contract, location)
    yield from _kinds(contract, receiver, location)


def _deadlines(
    contract: HandoffContract, receiver: Receiver | None, location: Location
) -> Iterator[Problem]:
    habit = receiver.checks_every if receiver is not None else None
    deadlines = {
        "accept_within": contract.accept_within,
        "complete_within": contract.complete_within,
    }
    for name, deadline in deadlines.items():
        if receiver is not None and habit and deadline and deadline < habit:
            yield location.problem(
                (name,),
                f"{format_duration(deadline)} is shorter than {format_duration(habit)}, the time "
                f"after which {receiver.id!r} looks again (checks_every): the deadline would pass "
                "before anyone has seen the handoff",
                "allow more time, or agree with the team to look more often",
            )
    accept, complete = deadlines.values()
    if accept and complete and complete < accept:
        yield location.problem(
            ("complete_within",),
            f"{format_duration(complete)} is shorter than {format_duration(accept)}, the time to "
            "accept (accept_within), and both count from sending: the work would be due before "
            "anyone has to take it on",
            "allow more time to complete, or less to accept",
        )
    if contract.release_within and not _holding(contract, receiver):
        yield location.problem(
            ("release_within",),
            "this deadline counts from holding, and no kind in hold_on ever holds a package",
            "name the kinds that hold, or leave release_within out",
            "warning",
        )


def _holding(contract: HandoffContract, receiver: Receiver | None) -> bool:
    return any(
        kind == "any" or not (_TOO_LATE.get(kind) or _never(kind, contract, receiver))
        for kind in contract.hold_on
    )


def _acceptance(contract: HandoffContract, location: Location) -> Iterator[Problem]:
    suggestion = "name the stage that the receiver runs (to.stage), or say accept: explicit"
    if contract.to.stage is None:
        if isinstance(contract.accept, AcceptTools):
            yield location.problem(
                ("accept",),
                "these are the tools whose outputs at to.stage accept, and there is no to.stage: "
                "only an ack accepts",
                suggestion,
                "warning",
            )
        elif contract.accept == "on_output":
            for name in ("accept_within", "complete_within"):
                if getattr(contract, name) is not None:
                    yield location.problem(
                        (name,),
                        "without to.stage no output of the receiver is known for one: only an ack "
                        "keeps this deadline",
                        suggestion,
                        "warning",
                    )
                    return
    elif contract.accept == "on_output" and contract.to.stage in contract.from_.stage:
        yield location.problem(
            ("to", "stage"),
            f"the handoff comes from the stage {contract.to.stage!r} too: the sender's own next "
            "output there accepts it",
            "name the stage that the receiver runs, or say accept: explicit",
            "warning",
        )


def _paths(contract: HandoffContract, location: Location) -> Iterator[Problem]:
    """Paths that are none: each stands for a name that is spelled so."""
    places: list[tuple[tuple[str | int, ...], str]] = [
        (("fields", i, "from", j), path)
        for i, field in enumerate(contract.fields)
        for j, path in enumerate(field.from_)
    ]
    if contract.repeat is not None:
        places += [
            (("repeat", "by", j), path.removeprefix("context."))
            for j, path in enumerate(contract.repeat.by)
        ]
    for at, path in places:
        try:
            paths.parse(path)
        except ExpressionError as error:
            yield location.problem(
                at,
                f"{error.message}, so only a name that is spelled so is read",
                f"{error.suggestion}\n{error.place}",
                "warning",
            )


def _dead_paths(contract: HandoffContract, location: Location) -> Iterator[Problem]:
    """Paths into an object that an earlier path takes whole: it has a value whenever they do."""
    for i, field in enumerate(contract.fields):
        for j, path in enumerate(field.from_):
            above = next((p for p in field.from_[:j] if path.startswith((p + ".", p + "["))), None)
            if above is not None:
                yield location.problem(
                    ("fields", i, "from", j),
                    f"{path!r} is never read out of {above!r}, which stands before it and has a "
                    "value whenever this one has",
                    "put the longer path first, or remove it",
                    "warning",
                )


_SPELLED: dict[str, str] = {
    "phone": r"phone|mobile|telephone|msisdn|fax|cell(?:phone)?",
    "date": r"date|birthday|dob|deadline",
    "number": r"amount|price|total|budget|quantity|qty",
}
_SAID_BY_TYPE = ("date", "number")


def _sameness(contract: HandoffContract, location: Location) -> Iterator[Problem]:
    """Fields whose values tools spell in several ways, going by their names."""
    for i, field in enumerate(contract.fields):
        if field.same_as is not None or field.translate is not None:
            continue
        words = re.findall(r"[a-z]+", re.sub(r"([a-z])([A-Z])", r"\1 \2", field.name).lower())
        for reader, pattern in _SPELLED.items():
            typed = field.type is not None and field.type != ("string",)
            if reader in _SAID_BY_TYPE and (typed or field.schema_ is not None):
                continue
            if any(re.fullmatch(pattern, word) for word in words):
                yield location.problem(
                    ("fields", i),
                    f"{field.name!r} may be spelled in several ways, and only the same spelling "
                    "counts as the same value",
                    f"say how it is read: same_as: {reader}",
                    "hint",
                )


def _translations(contract: HandoffContract, location: Location) -> Iterator[Problem]:
    """Terms of the receiver that the field's own type or schema refuses (it is asked after)."""
    spent = 0.0
    for i, field in enumerate(contract.fields):
        schema = field.schema_ if field.type is None else {"type": list(field.type)}
        if field.translate is None or schema is None:
            continue
        validator = Validator(schema)
        unchecked = 0
        for term, to in field.translate.items():
            value = msgspec.json.encode(to)
            if len(value) > validator.largest:
                yield location.problem(
                    ("fields", i, "translate", term),
                    f"the term that this becomes is longer ({len(value):,} bytes) than any that "
                    f"the schema judges ({validator.largest:,}): every handoff with it is "
                    "context_malformed",
                    "shorten the term, or simplify the schema",
                    "warning",
                )
                continue
            spent += validator.cost(value)
            if spent > MOST_TRIED:
                unchecked += 1
            elif not validator.fits(value):
                yield location.problem(
                    ("fields", i, "translate", term),
                    "the term that this becomes has not the field's own type or schema: every "
                    "handoff with it is context_malformed",
                    "correct the term, or the type",
                    "warning",
                )
        if unchecked:
            terms = "1 of its terms was" if unchecked == 1 else f"{unchecked} of its terms were"
            yield location.problem(
                ("fields", i, "translate"),
                f"{terms} not checked against the schema, which would take too long: one that it "
                "refuses makes each handoff with it context_malformed",
                "simplify the schema: fewer repetitions ({1,1000}) in patterns, fewer references",
                "warning",
            )


def _expressions(contract: HandoffContract, location: Location) -> Iterator[Problem]:
    """Expressions that are the same for every task, and rules over what no package holds."""
    if contract.when is not None:
        turn = compile_expression(contract.when)
        if not turn.reads and not _holds(turn):
            message = "is never true, so the processor never starts a handoff"
            yield location.problem(
                ("when",), message, "read the context: context.<name>", "warning"
            )
    declared = {field.name for field in contract.fields}
    for i, rule in enumerate(contract.rules):
        reads = compile_expression(rule.expr).reads
        gone = sorted(reads - declared)
        if not reads:
            message = "reads nothing of the context, so it says the same of every handoff"
            suggestion = "read a field: context.<name>"
        elif gone and contract.extra == "strip":
            message = f"reads {listed(gone)}, declared by no field, and extra: strip drops that"
            suggestion = "declare it as a field (required: false, if need be)"
        elif gone and contract.when is not None:
            message = (
                f"reads {listed(gone)}, declared by no field, and a handoff that the processor "
                "starts (when) carries declared fields only"
            )
            suggestion = "declare it as a field (required: false, if need be)"
        else:
            continue
        yield location.problem(("rules", i, "expr"), message, suggestion, "warning")


def _holds(expression: Expression) -> bool:
    try:
        return expression.evaluate({})
    except EvaluationError:
        return False


def _kinds(
    contract: HandoffContract, receiver: Receiver | None, location: Location
) -> Iterator[Problem]:
    """Kinds in hold_on and severity that no handoff on this contract can have."""
    for i, kind in enumerate(contract.hold_on):
        why = None if kind == "any" else _TOO_LATE.get(kind) or _never(kind, contract, receiver)
        if why is not None:
            message = f"{kind} never holds a package on this contract: {why}"
            yield location.problem(("hold_on", i), message, "remove it", "warning")
    for known in contract.severity:
        why = _never(known, contract, receiver)
        if known == "rule_failed":
            message = "a rule that fails has the severity that stands with the rule, not this one"
            yield location.problem(("severity", known), message, "give it to the rules", "warning")
        elif why is not None:
            message = f"{known} never opens on this contract: {why}"
            yield location.problem(("severity", known), message, "remove it", "warning")


def _never(kind: ViolationKind, contract: HandoffContract, receiver: Receiver | None) -> str | None:
    """Why a kind of violation cannot open on this contract, or None where it can."""
    fields = contract.fields
    match kind:
        case "contract_missing":
            return "it says that no contract covers the handoff"
        case "unknown_handoff":
            return "it says that there is no such handoff"
        case "link_refused":
            return "it says that two tasks are not linked, which is no matter of a contract"
        case "rule_failed" if not contract.rules:
            return "the contract has no rules"
        case "untranslatable" if all(field.translate is None for field in fields):
            return "no field has a 'translate'"
        case "context_malformed" if all(f.type is None and f.schema_ is None for f in fields):
            return "no field has a 'type' or a 'schema'"
        case "context_shortened" if not fields:
            return "no field is declared"
        case "handoff_loop" if contract.to.stage is None:
            return "only a to.stage tells where the task is, and there is none"
        case "context_changed" if not any(field.stable for field in fields):
            return "no field is 'stable'"
        case "not_accepted" if contract.accept_within is None:
            return "there is no accept_within"
        case "not_completed" if contract.complete_within is None:
            return "there is no complete_within"
        case "held_too_long" if contract.release_within is None:
            return "there is no release_within"
        case "context_reentered" if contract.to.stage is None:
            return "only an output at to.stage can show it, and there is no to.stage"
        case "receiver_silent" if receiver is not None and receiver.consumer_group is None:
            return f"the receiver {receiver.id!r} has no consumer_group that could be watched"
        case "handoff_missing" if not _found_implicitly(contract):
            return "nobody can find it: that takes a to.stage and no 'when'"
        case _ if kind in _ABOUT_REQUIRED and not any(field.required for field in fields):
            return "no field is required"
    return None


def _found_implicitly(contract: HandoffContract) -> bool:
    return contract.to.stage is not None and contract.when is None
