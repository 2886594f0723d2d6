"""What the processors publish, as people read it: cards, violations, signals, patterns."""

from collections.abc import Callable

import msgspec
from rich.console import RenderableType
from rich.text import Text

from console import render
from console.remembered import SeenTasks
from schemas import serde
from schemas.flow import Record
from schemas.printable import plain
from schemas.records import Package, Pattern, Signal, Violation
from schemas.unreadable import UNREADABLE

PACKAGES, HELD = "handoff.packages", "handoff.held"
VIOLATIONS, SIGNALS, PATTERNS = "handoff.violations", "handoff.signals", "handoff.patterns"
TOPICS = (PACKAGES, HELD, VIOLATIONS, SIGNALS, PATTERNS, serde.DEAD_LETTERS)

# Gives the contracts by which a record of a contract's id and version is shown.
ContractsOf = Callable[[str | None, int | None], render.Contracts]

_package = msgspec.json.Decoder(Package).decode
_violation = msgspec.json.Decoder(Violation).decode
_pattern = msgspec.json.Decoder(Pattern).decode
_signal = msgspec.json.Decoder(Signal).decode


def card(
    record: Record, contracts: ContractsOf, seen: SeenTasks, source: str | None = None
) -> RenderableType:
    """A record of one of the `TOPICS`. What tells a classified value that was `seen` of the same
    task is masked; what a package holds is seen from here on. `source` is where the input of a dead
    letter stands, if not on a topic."""
    handle = f"{record.partition}/{record.offset}"
    try:
        if record.topic == serde.DEAD_LETTERS:
            return render.dead_letter(handle, serde.read_dead_letter(record), source)
        if record.value is None:
            key = (record.key or b"").decode("utf-8", "replace")
            return Text.assemble("  no longer held: ", (plain(key), "bold"))
        if record.topic == VIOLATIONS:
            return render.violation(_violation(record.value))
        if record.topic == PATTERNS:
            pattern = _pattern(record.value)
            return render.pattern(pattern, contracts(pattern.contract, None))
        if record.topic == SIGNALS:
            return render.signal(_signal(record.value))
        package = _package(record.value)
        known = contracts(package.contract, package.contract_version)
        task = package.workflow, package.task_id
        seen.note(task, package.context)
        beside = seen.texts(task, known.classified(package.workflow))
        return render.package(package, known, beside)
    except (*UNREADABLE, ValueError):
        return Text(
            f"  {record.topic}/{handle} cannot be read: a newer version, or not ours", "red"
        )
