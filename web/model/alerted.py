"""The rows of figures, of patterns that were closed, of alerts and of silences."""

from collections.abc import Iterator
from typing import Final

import msgspec

from schemas.flow import Record
from schemas.serde import epoch_ms
from web.model import statements as to
from web.model.outlines import (
    AlertOutline,
    FiguresOutline,
    PatternOutline,
    SilenceOutline,
    SinkOutline,
)
from web.model.parts import json_text
from web.model.statements import Row

_MOST_WHY: Final = 500  # characters of why a sink did not take a message
_figures = msgspec.json.Decoder(FiguresOutline).decode
_pattern = msgspec.json.Decoder(PatternOutline).decode
_alert = msgspec.json.Decoder(AlertOutline).decode
_silence = msgspec.json.Decoder(SilenceOutline).decode


def figures(record: Record) -> Iterator[Row]:
    """Of `handoff.figures`: an hour or a day of an edge, or a pattern that was closed."""
    key = (record.key or b"").decode()
    place = record.partition, record.offset, record.timestamp
    if record.value is None:
        yield Row(to.NO_FIGURES, (key, *place))
        return
    if key.startswith("pattern/"):
        closed = _pattern(record.value)
        seen = epoch_ms(closed.first_seen), epoch_ms(closed.last_seen), epoch_ms(closed.at)
        yield Row(to.OCCURRENCE, (closed.id, closed.fingerprint, closed.count, *seen, *place))
        return
    found = _figures(record.value)
    edge = key.rpartition("/")[0]
    span = epoch_ms(found.since), epoch_ms(found.until)
    counted = found.counts.get("moves", 0), json_text(found.counts), json_text(found.lost_fields)
    yield Row(to.FIGURES, (key, edge, found.kind, *span, *counted, *place))


def alerts(record: Record) -> Iterator[Row]:
    """Of `handoff.alerts`: a cause and the alert that tells it, or an alert."""
    key = (record.key or b"").decode()
    place = record.partition, record.offset, record.timestamp
    if record.value is None:
        yield Row(to.NO_ALERT, (key, *place))
        return
    found = _alert(record.value)
    if found.of not in ("cause", "alert"):
        return
    began = found.started_at or found.opened_at
    span = (
        None if began is None else epoch_ms(began),
        None if found.until is None else epoch_ms(found.until),
    )
    of = found.of, found.fingerprint, found.alert, found.state
    due = None if found.due_at is None else epoch_ms(found.due_at)
    sinks = json_text([_sink(name, told) for name, told in sorted(found.sinks.items())])
    yield Row(to.ALERT, (key, *of, *span, found.by, found.reason, due, sinks, *place))


def _sink(name: str, told: SinkOutline) -> dict[str, str | int | bool | None]:
    """What a sink was told, with the members of `queries.told.SinkTold`."""
    at = told.at if told.pending is None else told.pending.at
    return {
        "sink": name,
        "action": told.action,
        "at": None if at is None else epoch_ms(at),
        "pending": told.pending is not None,
        "undelivered": told.undelivered and told.undelivered[:_MOST_WHY],
    }


def silences(record: Record) -> Iterator[Row]:
    """Of `handoff.silences`."""
    key = (record.key or b"").decode()  # which ends it, whatever it says of itself
    place = record.partition, record.offset, record.timestamp
    if record.value is None:
        yield Row(to.NO_SILENCE, (key, *place))
        return
    found = _silence(record.value)
    span = epoch_ms(found.starts_at), epoch_ms(found.ends_at)
    yield Row(to.SILENCE, (key, json_text(found.match), *span, found.by, *place))
