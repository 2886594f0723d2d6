"""What `handoff doctor` says of alerts: who tells them, and whether sinks take them."""

from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Final

import msgspec
from confluent_kafka import KafkaException
from msgspec import Struct

from alerts.active import NAME, PATTERNS
from alerts.progress import LIMIT_SECONDS
from console import output
from console.commands.checks import CheckResult, members_of
from console.errors import DeclinedError
from console.kafka import ANSWER_SECONDS, Cluster, read_all, read_table
from console.render import clock
from processors.runtime import clients
from processors.runtime.groups import offsets
from schemas import serde
from schemas.alerts import ALERTS, SILENCES, Alert, AlertEntry, AlertSilence
from schemas.printable import listed, plain
from schemas.unreadable import UNREADABLE
from topics.rights import Right, reason

# A sink that has not answered for so long is away; the heartbeat waits as long.
WAITS: Final = timedelta(seconds=LIMIT_SECONDS)
SOON: Final = timedelta(days=1)
LETTERS: Final = 2_000  # dead letters that are read of a partition, the newest ones
_MESSAGES: Final = 5
_GONE: Final = "put it back into the routes and start alerts again, or close them there"
_ANEW: Final = "mend the sink, then try it: handoff alerts test ROUTE"


class _Seen(Struct):
    """Of a pattern whether it is told."""

    status: str
    severity: str
    backfill: bool = False


_pattern = msgspec.json.Decoder(_Seen).decode
_entry = msgspec.json.Decoder(AlertEntry).decode
_silence = msgspec.json.Decoder(AlertSilence).decode


def alerts(cluster: Cluster) -> Iterator[CheckResult]:
    """Who tells alerts; sinks that do not take them; silences that are over, or soon will be.
    Raises `DeclinedError` for what may not be read."""
    now = datetime.now(UTC)
    entries, unreadable = _alerts(cluster)
    yield from _who(cluster, len(entries))
    yield from _sinks(entries, now)
    yield from _letters(cluster, now)
    yield from _silences(cluster, now)
    if unreadable:
        what = f"{output.number(unreadable, 'entry', 'entries')} of {cluster.name(ALERTS)} cannot "
        what += "be read: a newer version wrote them, or somebody else"
        yield CheckResult("alerts", "note", what, "run one version of handoff alerts run")


def _alerts(cluster: Cluster) -> tuple[list[Alert], int]:
    """The alerts that are remembered, and how many entries cannot be read."""
    found, unreadable = [], 0
    for value in read_table(cluster, ALERTS).values() if cluster.has(ALERTS) else ():
        try:
            entry = _entry(value)
        except UNREADABLE:
            unreadable += 1
            continue
        if isinstance(entry, Alert):
            found.append(entry)
    return found, unreadable


def _who(cluster: Cluster, alerts_: int) -> Iterator[CheckResult]:
    if not cluster.has(PATTERNS):
        return
    group = clients.group_id(cluster.settings, NAME)
    members = members_of(cluster, group)
    if members:
        what = f"{output.number(members, 'member')} in {group}, "
        yield CheckResult("alerts", "ok", what + output.number(alerts_, "alert"))
        return
    open_ = sum(map(_is_told, read_table(cluster, PATTERNS).values()))
    told = f"{output.number(open_, 'open pattern')}" if open_ else "no pattern is open"
    what = f"nobody tells alerts: no member in {group}; {told}"
    if _ran(cluster, group):
        yield CheckResult("alerts", "problem" if open_ else "note", what, "handoff alerts run")
    elif open_:
        yield CheckResult("alerts", "note", what, "handoff alerts run")


def _is_told(value: bytes) -> bool:
    try:
        seen = _pattern(value)
    except UNREADABLE:
        return False
    return seen.status != "closed" and not seen.backfill and seen.severity != "info"


def _ran(cluster: Cluster, group: str) -> bool:
    """Whether alerts were told here of late, so that people count on it."""
    places = [(cluster.name(PATTERNS), 0)]
    try:
        (found,) = offsets(cluster.settings, group, places, ANSWER_SECONDS)
    except KafkaException as error:
        why = reason(error.args[0], Right("DESCRIBE", "group", group))
        raise DeclinedError(f"the group {group} cannot be read: {why}") from None
    return found.offset >= 0


def _sinks(entries: list[Alert], now: datetime) -> Iterator[CheckResult]:
    refused: dict[str, list[str]] = {}
    waiting: dict[str, list[datetime]] = {}
    gone: Counter[str] = Counter()
    for alert in entries:
        for sink, told in alert.sinks.items():
            if told.gone:
                gone[sink] += told.stays_open
            elif told.undelivered is not None:
                refused.setdefault(sink, []).append(told.undelivered)
            elif told.pending is not None and now - told.pending.at >= WAITS:
                waiting.setdefault(sink, []).append(told.pending.at)
    for sink, whys in sorted(refused.items()):
        what = f"the sink {plain(sink)} did not take {output.number(len(whys), 'alert')}: "
        yield CheckResult("alerts", "problem", what + plain(whys[-1]), _ANEW)
    for sink, number in sorted(gone.items()):
        if number:
            what = f"the sink {plain(sink)} is not in the routes any more, and "
            what += f"{output.number(number, 'alert')} may stay open there"
            yield CheckResult("alerts", "problem", what, _GONE)
    for sink, since in sorted(waiting.items()):
        what = f"the sink {plain(sink)} has kept {output.number(len(since), 'alert')} waiting "
        yield CheckResult("alerts", "problem", f"{what}since {clock(min(since))}", _ANEW)


def _letters(cluster: Cluster, now: datetime) -> Iterator[CheckResult]:
    """Messages of the last day that were refused, or given up."""
    if not cluster.has(serde.DEAD_LETTERS):
        return
    counts: Counter[str] = Counter()
    since = int((now - SOON).timestamp() * 1000)
    for record in read_all(cluster, [serde.DEAD_LETTERS], "dead letters", last=LETTERS):
        if record.timestamp < since:
            continue
        try:
            letter = serde.read_dead_letter(record)
        except ValueError:
            continue  # it is none, and `dead-letters list` says so
        if letter.topic == ALERTS:
            counts[letter.message] += 1
    for message, count in counts.most_common(_MESSAGES):
        what = f"{output.number(count, 'message')} of the last day lost: {plain(message)}"
        yield CheckResult("alerts", "note", what, "handoff dead-letters list")


def _silences(cluster: Cluster, now: datetime) -> Iterator[CheckResult]:
    if not cluster.has(SILENCES):
        return
    over: list[str] = []
    for name, value in sorted(read_table(cluster, SILENCES).items()):
        try:
            silence = _silence(value)
        except UNREADABLE:
            what = f"the silence {plain(name)} cannot be read, and silences nothing"
            yield CheckResult(
                "silences", "note", what, f"handoff alerts silence --end {plain(name)}"
            )
            continue
        if silence.ends_at <= now:
            over.append(plain(name))
        elif silence.ends_at <= now + SOON:
            what = f"{plain(name)} of {plain(silence.by)} ends at {clock(silence.ends_at)}: "
            what += "what still fires is told then"
            yield CheckResult("silences", "note", what)
    if over:
        what = f"{output.number(len(over), 'silence')} over: {listed(over)}"
        yield CheckResult("silences", "note", what, "handoff alerts silence --end ID")
