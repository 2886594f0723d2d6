"""The intake processor: from the topics that a team has to ours, as the registered sources say."""

from collections.abc import Collection

from processors.intake.compiled import CompiledSource
from processors.intake.mapped import MappedRecord
from processors.intake.mapping import map_record
from processors.intake.registry import SourceTables, build_tables
from processors.intake.source_spans import TRACES
from processors.processor import Relay, Relayed
from schemas import serde
from schemas.alerts import ACTIONS
from schemas.flow import Output, Record, Refused
from schemas.sources import TOPIC

POSITIONS = "handoff.source-positions"
SOURCE_HEADER = "handoff-source"
_BACKFILL = (serde.BACKFILL_HEADER, b"1")


def intake(max_record_bytes: int, backfill_after_ms: int) -> Relay:
    """The intake processor. A foreign record with more bytes than `max_record_bytes` is a dead
    letter, and so is one of which a record of ours would get more. What lies further back than
    `backfill_after_ms` is backfill."""

    def step(
        record: Record, tables: SourceTables, now: int, again: Collection[str] | None
    ) -> Relayed:
        done = Relayed([], [])
        for source in tables.by_topic.get(record.topic, ()):
            if again is None or source.source.id in again:
                backfill = again is not None or record.timestamp < now - backfill_after_ms
                _relay(done, source, record, now, backfill, max_record_bytes)
        return done

    return Relay(
        name="intake",
        tables=(TOPIC,),
        build_tables=build_tables,
        topics=lambda tables: tables.topics,
        step=step,
        outputs=("handoff.tool-outputs", "handoff.acks", ACTIONS, TRACES, POSITIONS),
        positions=POSITIONS,
    )


def _relay(
    done: Relayed, source: CompiledSource, record: Record, now: int, backfill: bool, most: int
) -> None:
    """What one source makes of a record: all of it, or a dead letter."""
    id_ = source.source.id
    try:
        mapped = _mapped(source, record, now, most)
        if mapped.refused is not None:
            raise mapped.refused
        outputs = [_stamped(each, record, now, backfill) for each in mapped.records]
        for output in outputs:
            size = serde.size(output)
            if size > most:
                raise Refused(
                    "output_too_large",
                    f"a record for {output.topic} would have {size:,} bytes, the limit is "
                    f"{most:,}; leave members out of the context",
                )
    except Exception as error:  # noqa: BLE001 - whatever it was, the next record is mapped
        letter = serde.dead_letter(record, error)
        letter.headers.append((SOURCE_HEADER, id_.encode()))
        done.outputs.append(letter)
        code = error.code if isinstance(error, Refused) else "defect"
        done.counted.append((id_, "dead_letters", code))
        return
    done.outputs += outputs
    if mapped.skipped is not None:
        done.counted.append((id_, "left_out", mapped.skipped.code))
    else:
        done.counted.append((id_, "mapped", ""))
    done.counted += [
        (id_, "lookup_misses", f"{table}:{key}") for table, key in mapped.lookup_misses
    ]


def _mapped(source: CompiledSource, record: Record, now: int, most: int) -> MappedRecord:
    size = len(record.value or b"")
    if size > most:
        why = f"the value has {size:,} bytes, the limit is {most:,}"
        raise Refused("too_large", f"the source {source.source.id} cannot map it: {why}")
    return map_record(source, record, now)


def _stamped(output: Output, record: Record, now: int, backfill: bool) -> Output:
    """An output with the time of the foreign record. One that lies far back is marked instead, and
    has the time at which it is produced: with its own, retention would take it before it is
    judged."""
    headers = output.headers
    if backfill and _BACKFILL not in headers:
        headers = [*headers, _BACKFILL]
    # A clock that is ahead must not keep the segments of our topics.
    at = 0 if _BACKFILL in headers or record.timestamp > now else max(0, record.timestamp)
    return Output(output.topic, output.key, output.value, headers, at)
