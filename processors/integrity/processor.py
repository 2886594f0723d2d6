"""The integrity processor: its core, and where its inputs, state and tables live."""

from processors.contracts.tables import CONTRACTS, RECEIVERS, build_tables
from processors.integrity import state
from processors.integrity.advance import HELD, PACKAGES, SIGNALS, VIOLATIONS, advance
from processors.integrity.state import Task
from processors.processor import Processor
from schemas.flow import Arrival
from schemas.wire import parse


def _state_key(arrival: Arrival) -> str:
    return state.state_key(arrival.body.workflow, arrival.body.task_id)


INTEGRITY: Processor[Task] = Processor(
    name="integrity",
    inputs=("handoff.tool-outputs",),
    changelog="handoff.integrity-state",
    tables=(CONTRACTS, RECEIVERS),
    build_tables=build_tables,
    parse=parse,
    state_key=_state_key,
    advance=advance,
    encode=state.encode,
    decode=state.decode,
    outputs=(PACKAGES, HELD, VIOLATIONS, SIGNALS),
)
