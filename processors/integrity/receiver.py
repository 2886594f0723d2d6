"""Judges the receiving side of a handoff: is there a receiver, a queue, an owner, a contract?"""

from msgspec import Struct

from processors.contracts.compiled import Contract
from processors.contracts.tables import Tables
from schemas.records import HandoffRequest, To, ToolOutput, ViolationKind


class Broken(Struct, frozen=True, gc=False):
    """A broken promise about the handoff as a whole; `reason` is a stable word for machines."""

    kind: ViolationKind
    reason: str | None = None


class Route(Struct, frozen=True, gc=False):
    """Where a handoff goes and what is wrong with that. `queue` is None where there is none."""

    contract: Contract | None
    to: To
    queue: str | None
    broken: list[Broken]


def route(output: ToolOutput, request: HandoffRequest, tables: Tables, now: int) -> Route:
    """Find the contract, the receiver and its owner at `now` (epoch ms) for a declared handoff."""
    found = tables.resolve(output.workflow, output.stage, request.to, request.contract)
    contract = found.contract
    broken: list[Broken] = []
    if found.mismatch:
        broken.append(Broken("receiver_mismatch"))
    elif contract is None:
        broken.append(
            Broken("contract_missing", "no_match" if request.contract is None else "not_active")
        )
    # The contract knows better than the sender where its handoffs belong.
    receiver = contract.receiver if contract is not None else request.to
    stage = contract.to_stage if contract is not None else None
    registered = tables.receivers.get(receiver)
    if registered is None:
        broken.append(Broken("receiver_missing", "unregistered"))
        return Route(contract, To(receiver, None, stage, None, None), None, broken)
    owner = registered.owner_at(now)
    to = To(
        receiver,
        registered.team,
        stage,
        owner.name if owner is not None else None,
        owner.contact if owner is not None else None,
    )
    reason = _absence(registered.retired, registered.queue, tables)
    if reason is not None:
        broken.append(Broken("receiver_missing", reason))
        return Route(contract, to, None, broken)
    if owner is None:
        broken.append(Broken("owner_missing"))
    return Route(contract, to, registered.queue, broken)


def _absence(retired: bool, queue: str | None, tables: Tables) -> str | None:
    if retired:
        return "retired"
    if queue is not None and tables.queues is not None and queue not in tables.queues:
        return "no_queue"
    return None
