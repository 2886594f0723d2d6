"""What documents say to each other: `lint` finds what each alone cannot show."""

import datetime as dt
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping

from schemas.documents import ANY_STAGE, HandoffContract, Receiver, key
from schemas.lint_contract import lint_contract
from schemas.loading import Documents
from schemas.printable import listed
from schemas.yaml_source import Location, Problem

_LEVELS = ("error", "warning", "hint")


def lint(documents: Documents, today: dt.date) -> list[Problem]:
    """Problems between the documents, errors first, then by file and line.

    `today` (UTC) decides whether an owner is still in force. Retired documents are not judged, nor
    are versions that a later one has replaced.
    """
    receivers = {receiver.id: receiver for receiver in documents.receivers}
    contracts = in_play(documents.contracts)
    problems: list[Problem] = []
    for contract in contracts:
        location = documents.location(contract)
        problems += _receivers_known(contract, receivers, location)
        problems += lint_contract(contract, receivers.get(contract.to.receiver), location)
    problems += _tried_in_vain(documents.contracts, contracts, documents)
    problems += _shadowed(contracts, documents)
    problems += _called_alike(documents.receivers, documents)
    settled = [contract for contract in contracts if contract.status != "draft"]
    owned = _owned_stages(settled, receivers, today)
    problems += _left_unowned(settled, owned, documents)
    problems += [
        problem
        for receiver in documents.receivers
        if receiver.status == "active"
        for problem in _owner_in_force(receiver, settled, owned, today, documents)
    ]
    return in_order(problems)


def in_order(problems: Iterable[Problem]) -> list[Problem]:
    """Problems, errors first, then by file and line."""
    return sorted(problems, key=lambda p: (_LEVELS.index(p.level), p.file, p.line, p.path))


def in_play(contracts: Iterable[HandoffContract]) -> list[HandoffContract]:
    """What handoffs are judged with, now or once it is activated.

    Of each id the highest active version or else the highest deprecated one, the highest on trial,
    and all drafts. A version behind those cannot be changed any more: it is not judged.
    """
    best: dict[tuple[str, bool], HandoffContract] = {}
    for contract in contracts:
        if contract.status in ("trial", "active", "deprecated"):
            place = contract.id, contract.status == "trial"
            held = best.get(place)
            if held is None or _rank(contract) > _rank(held):
                best[place] = contract
    return [c for c in contracts if c.status == "draft" or c in best.values()]


def nobody_receives(
    contracts: Iterable[HandoffContract], receivers: Mapping[str, Receiver]
) -> Iterator[str]:
    """A sentence for each receiver that is not registered, or retired, and that a contract names
    by which handoffs are judged, on trial too."""
    named: dict[str, list[str]] = {}
    for contract in in_play(contracts):
        if contract.status != "draft":
            repeat = () if contract.repeat is None else (contract.repeat.receiver,)
            for receiver in dict.fromkeys((contract.to.receiver, *repeat)):
                named.setdefault(receiver, []).append(key(contract))
    for receiver, by in sorted(named.items()):
        if receiver not in receivers:
            how = "is not registered; register it, or name another there"
        elif receivers[receiver].status == "retired":
            how = "is retired; name another there"
        else:
            continue
        yield f"{receiver}, the receiver of {listed(by)}, {how}: it receives nothing"


def _rank(contract: HandoffContract) -> tuple[bool, int]:
    return contract.status == "active", contract.version


def _receivers_known(
    contract: HandoffContract, receivers: dict[str, Receiver], location: Location
) -> Iterator[Problem]:
    def told(at: tuple[str, ...], receiver_id: str, is_: str, suggestion: str) -> Problem:
        message = f"the receiver {receiver_id!r} {is_}"
        return location.problem(at, message, suggestion, "warning")

    at, receiver_id = ("to", "receiver"), contract.to.receiver
    receiver = receivers.get(receiver_id)
    if receiver is None:
        suggestion = "register it, or correct its id; until then packages are held"
        yield told(at, receiver_id, "is not known here", suggestion)
    elif receiver.status == "retired":
        suggestion = "name another; packages to a retired receiver are held"
        yield told(at, receiver_id, "is retired", suggestion)
    if contract.repeat is None:
        return
    at, receiver_id = ("repeat", "receiver"), contract.repeat.receiver
    receiver = receivers.get(receiver_id)
    if receiver is None:
        suggestion = "register the receiver, or name another; until then no pattern reaches it"
        yield told(at, receiver_id, "is not known here", suggestion)
    elif receiver.status == "retired":
        yield told(at, receiver_id, "is retired", "name another; no pattern reaches this one")
    elif receiver.queue is None:
        suggestion = "give it one, or name another; until then no pattern reaches it"
        yield told(at, receiver_id, "has no queue", suggestion)


def _tried_in_vain(
    contracts: Iterable[HandoffContract], in_play: list[HandoffContract], documents: Documents
) -> Iterator[Problem]:
    for contract in contracts:
        if contract.status != "trial" or contract in in_play:
            continue
        newest = max(c.version for c in in_play if c.id == contract.id and c.status == "trial")
        yield documents.location(contract).problem(
            ("status",),
            f"version {newest} of {contract.id!r} is on trial too, and only the highest one judges",
            "retire this one",
            "warning",
        )


def _shadowed(contracts: list[HandoffContract], documents: Documents) -> Iterator[Problem]:
    """Contracts between which a handoff that names none chooses by nothing better than the id."""
    alike: dict[tuple[str, str, str, bool], list[HandoffContract]] = defaultdict(list)
    for contract in sorted(contracts, key=lambda c: c.id):
        if contract.status != "active":
            continue
        for stage in contract.from_.stage:
            # A stage alone wins over one in a list, and that over '*': only equals hide each other.
            alone = len(contract.from_.stage) == 1
            alike[contract.workflow, stage, contract.to.receiver, alone].append(contract)
    told: set[tuple[str, str]] = set()
    for (_, stage, receiver, _), (first, *others) in alike.items():
        for other in others:
            if (first.id, other.id) in told or (first.when and other.when):
                continue  # two that the processor starts by itself: it knows which
            told.add((first.id, other.id))
            where = "any stage" if (stage,) == ANY_STAGE else f"stage {stage!r}"
            yield documents.location(other).problem(
                ("from", "stage"),
                f"the contract {first.id!r} covers {where} to {receiver!r} as closely: a handoff "
                f"that names no contract takes {first.id!r}",
                "retire one, or let the senders name the contract",
                "warning",
            )


def _called_alike(receivers: Iterable[Receiver], documents: Documents) -> Iterator[Problem]:
    """Aliases that do not lead to their receiver, because another one is called so, too."""
    called: dict[str, dict[str, None]] = defaultdict(dict)
    for receiver in receivers:
        for name in (receiver.id, *receiver.aliases):
            called[name][receiver.id] = None
    for receiver in receivers:
        for i, alias in enumerate(receiver.aliases):
            others = [id_ for id_ in called[alias] if id_ != receiver.id]
            if not others:
                continue
            if alias in others:
                what = f"{alias!r} is the id of another receiver, which gets what is sent there"
            else:
                alike = listed([repr(id_) for id_ in others], " and ")
                what = f"{alias!r} is an alias of {alike}, too, so it leads to none of them"
            suggestion = "leave the name to one receiver"
            yield documents.location(receiver).problem(("aliases", i), what, suggestion, "warning")


def _owned_stages(
    contracts: list[HandoffContract], receivers: dict[str, Receiver], today: dt.date
) -> set[tuple[str, str]]:
    """(workflow, stage) with a team that some contract names, or a receiver's owner in force."""
    owned: set[tuple[str, str]] = set()
    for contract in contracts:
        if contract.from_.team is not None:
            owned |= {(contract.workflow, stage) for stage in contract.from_.stage}
        receiver = receivers.get(contract.to.receiver)
        if contract.to.stage is not None and receiver is not None and _owner(receiver, today):
            owned.add((contract.workflow, contract.to.stage))
    return owned


def _left_unowned(
    contracts: list[HandoffContract], owned: set[tuple[str, str]], documents: Documents
) -> Iterator[Problem]:
    """Stages that handoffs leave, of which nothing says who runs them; each told once."""
    told: set[tuple[str, str]] = set()
    for contract in contracts:
        if contract.from_.stage == ANY_STAGE or (contract.workflow, "*") in owned:
            continue
        unowned = [
            stage
            for stage in contract.from_.stage
            if (contract.workflow, stage) not in owned | told
        ]
        told |= {(contract.workflow, stage) for stage in unowned}
        if unowned:
            stages = f"the stage{'s' * (len(unowned) > 1)} {listed([*map(repr, unowned)], ' and ')}"
            yield documents.location(contract).problem(
                ("from",),
                f"nothing says who runs {stages} of "
                f"{contract.workflow!r}: no contract names its team, and no receiver with an owner "
                "in force runs it",
                "name the team (from.team): it is told what becomes of its handoffs",
                "warning",
            )


def _owner_in_force(
    receiver: Receiver,
    contracts: list[HandoffContract],
    owned: set[tuple[str, str]],
    today: dt.date,
    documents: Documents,
) -> Iterator[Problem]:
    if _owner(receiver, today):
        return
    stages = {
        f"{contract.to.stage!r} of {contract.workflow!r}": None
        for contract in contracts
        if contract.to.receiver == receiver.id
        and contract.to.stage is not None
        and (contract.workflow, contract.to.stage) not in owned
    }
    nobodys = f", so nobody owns the stage {listed(stages, ' and ')}" if stages else ""
    yield documents.location(receiver).problem(
        ("owners",),
        f"the receiver {receiver.id!r} has no owner in force on {today.isoformat()}{nobodys}",
        "name a person; until then packages are held (owner_missing)",
        "warning",
    )


def _owner(receiver: Receiver, today: dt.date) -> bool:
    """Whether a person answers for what the receiver is sent."""
    return receiver.status == "active" and any(
        owner.until is None or owner.until >= today for owner in receiver.owners
    )
