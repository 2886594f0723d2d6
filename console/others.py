"""Outputs at a receiver's stage that another team sent: they accept nothing and move nothing. Pure.

The processor only counts them (`outputs_of_others`). Here the same question is asked again of the
records of a task, by the contracts and receivers that are registered now.
"""

from collections.abc import Iterable

from msgspec.structs import replace

from console.sequence import Event
from processors.contracts.registry import RegistrySnapshot
from processors.integrity.receiver import is_outsider
from schemas import serde
from schemas.records import Package, Signal, ToolOutput

Place = tuple[str, int, int]  # topic, partition, offset
# After these a handoff waits for nobody to accept it.
_ENDS = frozenset(
    {"accepted", "completed", "returned", "rejected", "superseded", "discarded", "expired", "held"}
)


def of_others(events: Iterable[Event], workflow: str, tables: RegistrySnapshot) -> set[Place]:
    """Where the records of such outputs lie; `events` are those of a task in order."""
    found: set[Place] = set()
    waiting: dict[str, Package] = {}
    stage, since = "", 0
    for event in events:
        match event.body:
            case Package(disposition="sent", workflow=name) if name == workflow:
                waiting[event.body.id] = event.body
            case Signal(kind=kind) if kind in _ENDS:
                waiting.pop(event.body.handoff_id, None)
            case ToolOutput(workflow=name) if name == workflow and event.refused is None:
                output, at = event.body, serde.epoch_ms(event.body.occurred_at)
                output = output if output.stage else replace(output, stage=stage)
                if _is_of_others(output, stage, waiting.values(), tables):
                    found.add(place(event))
                elif at >= since:
                    stage, since = output.stage, at
            case _:
                pass
    return found


def place(event: Event) -> Place:
    """Where the record of an event lies."""
    return event.record.topic, event.record.partition, event.record.offset


def _is_of_others(
    output: ToolOutput, stage: str, waiting: Iterable[Package], tables: RegistrySnapshot
) -> bool:
    if output.team is None or output.handoff:
        return False
    covering = tables.between(output.workflow, stage, output.stage) if stage else None
    if (
        covering is not None
        and stage != output.stage
        and is_outsider(output.team, covering.team, covering.receiver, tables)
    ):
        return True
    return any(
        package.to.stage == output.stage
        and not _names_tools(package, tables)
        and is_outsider(output.team, package.from_.team, package.to.receiver, tables)
        for package in waiting
    )


def _names_tools(package: Package, tables: RegistrySnapshot) -> bool:
    """Whether the contract of a package names the tools that accept it."""
    contract = tables.version(package.contract, package.contract_version)
    return contract is not None and isinstance(contract.accepts, frozenset)
