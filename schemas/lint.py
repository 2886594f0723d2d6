"""What documents say to each other: `lint` finds what each alone cannot show."""

import datetime as dt
from collections import defaultdict
from collections.abc import Iterator

from schemas.documents import ANY_STAGE, HandoffContract, Receiver
from schemas.loading import Documents
from schemas.records import ViolationKind
from schemas.values import format_duration
from schemas.yaml_source import Problem

# Kinds of violation that this version never opens.
_LATER_KINDS: frozenset[ViolationKind] = frozenset(
    {
        "context_reentered",
        "rule_failed",
        "receiver_silent",
        "handoff_missing",
        "not_accepted",
        "not_completed",
        "rejected",
        "held_too_long",
        "unknown_handoff",
    }
)


def lint(documents: Documents, today: dt.date) -> list[Problem]:
    """Problems between the documents, errors first, then by file and line.

    `today` (UTC) decides whether an owner is still in force. Retired documents are not judged.
    """
    receivers = {receiver.id: receiver for receiver in documents.receivers}
    contracts = [c for c in documents.contracts if c.status != "retired"]
    problems = [
        problem
        for contract in contracts
        for check in (_receivers_known, _deadline_can_be_kept, _not_yet_acted_on)
        for problem in check(contract, receivers, documents)
    ]
    problems += _shadowed(contracts, documents)
    problems += [
        problem
        for receiver in documents.receivers
        if receiver.status == "active"
        for problem in _owner_in_force(receiver, today, documents)
    ]
    return sorted(problems, key=lambda p: (p.level != "error", p.file, p.line, p.path))


def _receivers_known(
    contract: HandoffContract, receivers: dict[str, Receiver], documents: Documents
) -> Iterator[Problem]:
    named: list[tuple[tuple[str, ...], str]] = [(("to", "receiver"), contract.to.receiver)]
    if contract.repeat is not None:
        named.append((("repeat", "receiver"), contract.repeat.receiver))
    for at, receiver_id in named:
        receiver = receivers.get(receiver_id)
        if receiver is None:
            message = f"the receiver {receiver_id!r} is not known here"
            suggestion = "register it, or correct its id; until then packages are held"
        elif receiver.status == "retired":
            message = f"the receiver {receiver_id!r} is retired"
            suggestion = "name another; packages to a retired receiver are held"
        else:
            continue
        if at[0] == "repeat":
            suggestion = "register the receiver, or name another; until then no pattern reaches it"
        yield documents.source(contract).problem(at, message, suggestion, "warning")


def _deadline_can_be_kept(
    contract: HandoffContract, receivers: dict[str, Receiver], documents: Documents
) -> Iterator[Problem]:
    receiver = receivers.get(contract.to.receiver)
    if receiver is None or receiver.checks_every is None or contract.accept_within is None:
        return
    if contract.accept_within < receiver.checks_every:
        yield documents.source(contract).problem(
            ("accept_within",),
            f"{format_duration(contract.accept_within)} is shorter than "
            f"{format_duration(receiver.checks_every)}, the time after which {receiver.id!r} looks "
            "again (checks_every): the deadline would pass before anyone has seen the handoff",
            "allow more time, or agree with the team to look more often",
        )


def _not_yet_acted_on(
    contract: HandoffContract, _receivers: dict[str, Receiver], documents: Documents
) -> Iterator[Problem]:
    """One warning a contract, whatever it has of what only a later version does."""
    found = ["status: trial"] if contract.status == "trial" else []
    for name in ("when", "rules", "release_within", "repeat"):
        if getattr(contract, name):
            found.append(name)
    if contract.accept != "on_output":
        found.append("accept")
    for name in ("hold_on", "severity"):
        kinds = [kind for kind in getattr(contract, name) if kind in _LATER_KINDS]
        if kinds:
            found.append(f"{name} {', '.join(kinds)}")
    deadlines = [
        name for name in ("accept_within", "complete_within") if getattr(contract, name) is not None
    ]
    if deadlines:
        found.append(f"{' and '.join(deadlines)} (the deadline is published, nobody watches it)")
    if found:
        yield documents.source(contract).problem(
            (),
            f"this version reads and does not act on: {'; '.join(found)}",
            "do not rely on it yet",
            "warning",
        )


def _shadowed(contracts: list[HandoffContract], documents: Documents) -> Iterator[Problem]:
    """Contracts between which a handoff that names none chooses by nothing better than the id."""
    highest: dict[str, HandoffContract] = {}
    for contract in contracts:
        if contract.status == "active":
            held = highest.get(contract.id)
            if held is None or held.version < contract.version:
                highest[contract.id] = contract
    alike: dict[tuple[str, str, str, bool], list[HandoffContract]] = defaultdict(list)
    for contract in sorted(highest.values(), key=lambda c: c.id):
        for stage in contract.from_.stage:
            # A stage alone wins over one in a list, and that over '*': only equals hide each other.
            alone = len(contract.from_.stage) == 1
            alike[contract.workflow, stage, contract.to.receiver, alone].append(contract)
    told: set[tuple[str, str]] = set()
    for (_, stage, receiver, _), (first, *others) in alike.items():
        for other in others:
            if (first.id, other.id) in told:
                continue
            told.add((first.id, other.id))
            where = "any stage" if (stage,) == ANY_STAGE else f"stage {stage!r}"
            yield documents.source(other).problem(
                ("from", "stage"),
                f"the contract {first.id!r} covers {where} to {receiver!r} as closely: a handoff "
                f"that names no contract takes {first.id!r}",
                "retire one, or let the senders name the contract",
                "warning",
            )


def _owner_in_force(receiver: Receiver, today: dt.date, documents: Documents) -> Iterator[Problem]:
    if not any(owner.until is None or owner.until >= today for owner in receiver.owners):
        yield documents.source(receiver).problem(
            ("owners",),
            f"the receiver {receiver.id!r} has no owner in force on {today.isoformat()}",
            "name a person; until then packages are held (owner_missing)",
            "warning",
        )
