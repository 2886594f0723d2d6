"""The intake processor: from the topics that a team has to ours, as the registered sources say."""

from collections.abc import Collection

from processors.intake.mapped import MappedRecord
from processors.intake.mapping import map_record
from processors.intake.registry import SourceTables, build_tables
from processors.intake.source_spans import TRACES
from processors.processor import Relay, Relayed
from schemas import serde
from schemas.alerts import ACTIONS
from schemas.flow import Record, Refused
from schemas.sources import TOPIC

POSITIONS = "handoff.source-positions"
SOURCE_HEADER = "handoff-source"


def intake(max_record_bytes: int, backfill_after_ms: int) -> Relay:
    """The intake processor. A foreign record with more bytes than `max_record_bytes` is a dead
    letter, and so is one of which a record of ours would get more. What lies further back than
    `backfill_after_ms` is backfill."""

    def step(
        done: Relayed,
        record: Record,
        tables: SourceTables,
        now: int,
        again: Collection[str] | None,
    ) -> None:
        for source in tables.by_topic.get(record.topic, ()):
            if again is None or source.source.id in again:
                backfill = again is not None or record.timestamp < now - backfill_after_ms
                try:
                    mapped = map_record(
                        source, record, now, backfill=backfill, most=max_record_bytes
                    )
                except Exception as error:  # noqa: BLE001 - whatever it was, the next one is mapped
                    _set_aside(done, source.source.id, record, error)
                else:
                    _relay(done, source.source.id, record, mapped)

    return Relay(
        name="intake",
        tables=(TOPIC,),
        build_tables=build_tables,
        topics=lambda tables: tables.topics,
        step=step,
        outputs=("handoff.tool-outputs", "handoff.acks", ACTIONS, TRACES, POSITIONS),
        positions=POSITIONS,
    )


def _relay(done: Relayed, source: str, record: Record, mapped: MappedRecord) -> None:
    """What a source made of a record: all of it, or a dead letter."""
    if mapped.refused is not None:
        _set_aside(done, source, record, mapped.refused)
        return
    done.outputs += mapped.records
    done.size += mapped.size
    if mapped.skipped is not None:
        done.counted[source, "left_out", mapped.skipped.code] += 1
    else:
        done.counted[source, "mapped", ""] += 1
    for table, _ in mapped.lookup_misses:  # a key may be a person's, and metrics are for everybody
        done.counted[source, "lookup_misses", table] += 1


def _set_aside(done: Relayed, source: str, record: Record, error: Exception) -> None:
    letter = serde.dead_letter(record, error)
    letter.headers.append((SOURCE_HEADER, source.encode()))
    done.outputs.append(letter)
    done.size += serde.size(letter)
    code = error.code if isinstance(error, Refused) else "defect"
    done.counted[source, "dead_letters", code] += 1
