"""Judges the receiving side of a handoff: is there a receiver, a queue, an owner, a contract?"""

from msgspec import Struct

from processors.contracts.compiled import Contract
from processors.contracts.registry import RegistrySnapshot
from processors.contracts.spelling import folded
from processors.integrity.near import NearNames
from schemas.records import From, To, ViolationKind

# What is looked at again while a handoff is open: these come and go with the tables.
RECEIVING: frozenset[ViolationKind] = frozenset(
    {"receiver_missing", "receiver_silent", "owner_missing"}
)


SPELLING = "spelling"  # why a receiver_mismatch is one, where it does no harm


class Broken(Struct, frozen=True, gc=False):
    """A broken promise about the handoff as a whole; `reason` is a stable word for machines."""

    kind: ViolationKind
    reason: str | None = None


class Asked(Struct, frozen=True, gc=False):
    """What a handoff was asked for: the receiver and contract that were named, and what fits.

    `receiver` is whom `to` means, `spelled` whether only its spelling was another.
    """

    to: str
    named: str | None
    contract: Contract | None
    mismatch: bool
    receiver: str
    spelled: bool = False


class Route(Struct, frozen=True, gc=False):
    """Where a handoff goes and what is wrong with that. `queue` is None where there is none."""

    contract: Contract | None
    to: To
    queue: str | None
    broken: list[Broken]


def route(asked: Asked, tables: RegistrySnapshot, now: int) -> Route:
    """Where a handoff goes at `now` (epoch ms)."""
    contract = asked.contract
    broken: list[Broken] = []
    if asked.mismatch:
        broken.append(Broken("receiver_mismatch"))
    elif contract is None:
        broken.append(
            Broken("contract_missing", "no_match" if asked.named is None else "not_active")
        )
    # The contract knows better than the sender where its handoffs belong.
    receiver = contract.receiver if contract is not None else asked.receiver
    if asked.spelled:
        broken.append(Broken("receiver_mismatch", SPELLING))
    to, queue, missing = destination(receiver, contract, tables, now)
    return Route(contract, to, queue, broken + missing)


def whom_else(
    broken: Broken, to: To, sender: From, workflow: str, tables: RegistrySnapshot
) -> tuple[str, ...]:
    """Of a receiver that is not registered: who may be meant, in words, each once. First those that
    are called so or nearly so, then those of the contracts for the stage."""
    if broken.reason != "unregistered":
        return ()
    near = tables.spelled.called(to.receiver)
    if not near:
        alike = NearNames(tables.receivers).to([to.receiver])
        near = () if alike is None else (alike,)
    theirs: dict[str, str] = {}
    for contract in tables.at(workflow, sender.stage):
        if contract.receiver != to.receiver:
            theirs.setdefault(contract.receiver, contract.id)
    meant = {each: theirs.get(each) for each in near} | theirs
    return tuple(
        [each if by is None else f"{each} by the contract {by}" for each, by in meant.items()]
    )


def is_outsider(
    team: str | None, sender: str | None, receiver: str, tables: RegistrySnapshot
) -> bool:
    """Whether an output at a receiver's stage that states a team is not the receiver's: it is the
    sender's, or another registered receiver's, however they are spelled."""
    registered = tables.receivers.get(receiver)
    if team is None or registered is None or team == registered.team:
        return False
    spelled = folded(team)
    if spelled == folded(registered.team):
        return False
    return spelled in tables.teams or (sender is not None and spelled == folded(sender))


def destination(
    receiver: str, contract: Contract | None, tables: RegistrySnapshot, now: int
) -> tuple[To, str | None, list[Broken]]:
    """Who receives at `now`, on which queue, and what is missing there."""
    stage = contract.to_stage if contract is not None else None
    registered = tables.receivers.get(receiver)
    reason = tables.absence(receiver)
    if registered is None:
        return To(receiver, None, stage, None, None), None, [Broken("receiver_missing", reason)]
    owner = registered.owner_at(now)
    to = To(
        receiver,
        registered.team,
        stage,
        owner.name if owner is not None else None,
        owner.contact if owner is not None else None,
    )
    if reason is not None:
        return to, None, [Broken("receiver_missing", reason)]
    broken = [Broken("receiver_silent")] if tables.silent(receiver, now) else []
    if owner is None:
        broken.append(Broken("owner_missing"))
    return to, registered.queue, broken
