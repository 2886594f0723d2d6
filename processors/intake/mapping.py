"""From a foreign record to tool outputs and acks: a pure function of source and record."""

from processors.intake.compiled import CompiledSource
from processors.intake.mapped import MappedRecord, Skipped, Traced
from schemas.flow import Record


def map_record(source: CompiledSource, record: Record, now: int) -> MappedRecord:
    """What a record of a foreign topic becomes. `record.topic` is the name on the cluster; `now`
    is epoch ms. Never raises for any bytes; the same record gives the same bytes."""
    return MappedRecord(skipped=Skipped("no_entry", "not built yet"))


def explain(source: CompiledSource, record: Record, now: int) -> tuple[MappedRecord, list[Traced]]:
    """The same, with every path that was followed on the way, in order."""
    return map_record(source, record, now), []
