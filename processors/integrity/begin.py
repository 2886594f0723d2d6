"""How handoffs begin: declared by a tool, implied by a move, or triggered by the task's values."""

from msgspec import Struct

from processors.contracts.compiled import Contract
from processors.contracts.registry import RegistrySnapshot, Resolution
from processors.integrity.memory import Memory
from processors.integrity.receiver import Asked, is_outsider
from processors.integrity.state import Task
from schemas.cel.expression import EvaluationError
from schemas.flow import InputEvent
from schemas.records import Begun, Carries, From, HandoffRequest, ToolOutput


class ProposedHandoff(Struct, frozen=True, gc=False):
    """A handoff that begins: who sends what to whom, on which contract."""

    begun: Begun
    sender: From
    asked: Asked
    trial: Contract | None
    part: str | None = None
    note: str | None = None
    carries: Carries = "context"

    @property
    def slot(self) -> tuple[str | None, str, str | None]:
        """What can be open only once in a task: (contract, receiver, part)."""
        contract = self.asked.contract
        if contract is None:
            return None, self.asked.receiver, self.part
        return contract.id, contract.receiver, self.part


def declared(output: ToolOutput, tables: RegistrySnapshot) -> list[ProposedHandoff]:
    """The handoffs that an output declares."""
    if isinstance(output.handoff, list):
        return [_declared(output, request, tables) for request in output.handoff]
    return [] if output.handoff is None else [_declared(output, output.handoff, tables)]


def _declared(
    output: ToolOutput, request: HandoffRequest, tables: RegistrySnapshot
) -> ProposedHandoff:
    found = tables.resolve(output.workflow, output.stage, request.to, request.contract)
    contract = found.contract
    team = output.team or (contract.team if contract is not None else None)
    return ProposedHandoff(
        begun="declared",
        sender=From(team, output.stage, output.tool),
        asked=asked_for(request.to, request.contract, found),
        trial=found.trial,
        part=request.part,
        note=request.note,
        carries=request.carries,
    )


def asked_for(to: str, named: str | None, found: Resolution) -> Asked:
    """What was asked for, with what the registry found for it."""
    return Asked(
        to=to,
        named=named,
        contract=found.contract,
        mismatch=found.mismatch,
        receiver=found.receiver,
        spelled=found.spelled,
    )


def implicit(
    task: Task,
    output: ToolOutput,
    event: InputEvent,
    beside: list[ProposedHandoff],
    contract: Contract,
    tables: RegistrySnapshot,
) -> ProposedHandoff | None:
    """The handoff that nobody declared: the task was at one stage of a contract, now at the other.
    `contract` is the one that its move falls under.

    None where one on that contract began since the task came to the former stage, or still waits.
    """
    if event.occurred_at < task.stage_at or contract.id in task.begun:
        return None
    if is_outsider(output.team, contract.team, contract.receiver, tables):
        return None
    if any(other.asked.contract is contract for other in beside):
        return None
    if any(h.contract == contract.id and h.state != "accepted" for h in task.open):
        return None
    return ProposedHandoff(
        "implicit",
        From(contract.team, task.stage, task.tool),
        Asked(contract.receiver, None, contract, False, contract.receiver),
        tables.beside(output.workflow, contract.id),
    )


def triggered(
    task: Task,
    output: ToolOutput,
    memory: Memory,
    beside: list[ProposedHandoff],
    contracts: list[Contract],
    tables: RegistrySnapshot,
) -> tuple[list[ProposedHandoff], tuple[str, ...], int]:
    """The handoffs of some `contracts` whose `when` has turned true with this output, already
    captured.

    Beside them the contracts whose `when` is true now, and how many could not be evaluated. A
    missing member is false, and so is whatever else cannot be evaluated.
    """
    true = dict.fromkeys(task.true)
    begun = {b.asked.contract.id for b in beside if b.asked.contract is not None}
    found: list[ProposedHandoff] = []
    failed = 0
    for contract in contracts:
        if contract.id in begun:
            true[contract.id] = None  # a declared one counts as the trigger
            continue
        now_true, broken = _holds(contract, memory)
        failed += broken
        if not now_true:
            true.pop(contract.id, None)
        elif contract.id not in true:
            true[contract.id] = None
            found.append(
                ProposedHandoff(
                    "triggered",
                    From(output.team or contract.team, output.stage, output.tool),
                    Asked(contract.receiver, None, contract, False, contract.receiver),
                    tables.beside(output.workflow, contract.id),
                )
            )
    return found, tuple(true), failed


def _holds(contract: Contract, memory: Memory) -> tuple[bool, bool]:
    """Whether a contract's `when` is true, and whether it could not be evaluated at all."""
    assert contract.when is not None
    values = {}
    search = memory.search
    for name in contract.when.reads:
        held = search.under(name)
        if held is not None and held.newest is not None and held.newest.value is not None:
            values[name] = held.newest.value
    try:
        return contract.when.evaluate(values), False
    except EvaluationError as error:
        return False, error.kind != "no_such_member"
