"""Judges the receiving side of a handoff: is there a receiver, a queue, an owner, a contract?"""

from msgspec import Struct

from processors.contracts.compiled import Contract
from processors.contracts.registry import RegistrySnapshot
from schemas.records import To, ViolationKind

# What is looked at again while a handoff is open: these come and go with the tables.
RECEIVING: frozenset[ViolationKind] = frozenset(
    {"receiver_missing", "receiver_silent", "owner_missing"}
)


class Broken(Struct, frozen=True, gc=False):
    """A broken promise about the handoff as a whole; `reason` is a stable word for machines."""

    kind: ViolationKind
    reason: str | None = None


class Asked(Struct, frozen=True, gc=False):
    """What a handoff was asked for: the receiver and contract that were named, and what fits."""

    to: str
    named: str | None
    contract: Contract | None
    mismatch: bool


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
    receiver = contract.receiver if contract is not None else asked.to
    to, queue, missing = destination(receiver, contract, tables, now)
    return Route(contract, to, queue, broken + missing)


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
