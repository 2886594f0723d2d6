"""`handoff tail`: what the processor publishes, as it comes."""

import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from itertools import islice

import click
import msgspec
from rich.console import RenderableType
from rich.text import Text

from console import output, render
from console.commands.documents import shown_by
from console.dry_run import printed
from console.kafka import ANSWER_SECONDS, Cluster, TopicReader, Watch, connect
from schemas import serde
from schemas.flow import Record
from schemas.printable import plain
from schemas.records import Package, Pattern, Signal, Violation

_TOPICS = {
    "packages": "handoff.packages",
    "violations": "handoff.violations",
    "signals": "handoff.signals",
    "patterns": "handoff.patterns",
    "held": "handoff.held",
    "dead-letters": serde.DEAD_LETTERS,
}
_package = msgspec.json.Decoder(Package).decode
_violation = msgspec.json.Decoder(Violation).decode
_pattern = msgspec.json.Decoder(Pattern).decode
_signal = msgspec.json.Decoder(Signal).decode


@click.command()
@click.argument("what", type=click.Choice(list(_TOPICS)))
@click.option("--from-beginning", is_flag=True, help="Begin with the oldest record.")
@click.option("--limit", type=click.IntRange(min=1), help="End after so many records.")
@click.option("--timeout", type=click.FloatRange(min=0), help="End after so many quiet seconds.")
@output.as_json
def tail(
    what: str, from_beginning: bool, limit: int | None, timeout: float | None, output_: str
) -> None:
    """Follow what the processor publishes, until Ctrl-C. Only committed records are shown.

    In the form for people, classified values are masked, and texts that may quote them;
    `--output json` leaves them as they are. Of what was held before, that form shows only what
    still is.
    When the broker does not answer for some seconds, a line on standard error says so, and the
    command waits for it; with --timeout it ends with status 3.
    """
    cluster = connect()
    reader = TopicReader(cluster, [_TOPICS[what]], from_beginning=from_beginning)
    show = _json if output_ == "json" else _text(cluster, what)
    seen, quiet_since = 0, time.monotonic()
    try:
        with output.ends_cleanly(), suppress(KeyboardInterrupt):
            if what == "held" and from_beginning and output_ == "text":
                for held in islice(still_held(reader.to_end()), limit):
                    show(held)
                    seen += 1
                quiet_since = time.monotonic()
            watch = Watch(reader, cluster.settings)
            while limit is None or seen < limit:
                record = reader.poll(0.2)
                if record is not None:
                    watch.heard()
                    show(record)
                    seen += 1
                    quiet_since = time.monotonic()
                elif timeout is not None and time.monotonic() - quiet_since >= timeout:
                    if (lost := reader.lost(ANSWER_SECONDS)) is not None:
                        raise lost
                    break
                elif output.reader_gone():
                    break
                elif watch.look():
                    quiet_since = time.monotonic()  # what came meanwhile is on its way
    finally:
        reader.close()


def still_held(records: Iterable[Record]) -> list[Record]:
    """Of the records of `handoff.held` the last of each key, without what is held no more."""
    found: dict[bytes | None, Record] = {}
    for record in records:
        found.pop(record.key, None)
        if record.value is not None:
            found[record.key] = record
    return list(found.values())


def _json(record: Record) -> None:
    output.line(printed(record.topic, record.key, record.value, record.headers), flush=True)


def _text(cluster: Cluster, what: str) -> Callable[[Record], None]:
    terminal = render.console()
    contracts = _Contracts(cluster)

    def show(record: Record) -> None:
        terminal.print(_rendered(what, record, contracts))

    return show


class _Contracts:
    """The contracts of a record, read again when one was registered in the meantime."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._contracts = render.Contracts(())
        self._asked: set[tuple[str | None, int | None]] = set()

    def of(self, contract: str | None, version: int | None) -> render.Contracts:
        """All that are registered; read again when this one was not asked for before."""
        if (contract, version) not in self._asked:
            self._asked.add((contract, version))
            self._contracts = shown_by(self._cluster)
        return self._contracts


def _rendered(what: str, record: Record, contracts: _Contracts) -> RenderableType:
    handle = f"{record.partition}/{record.offset}"
    try:
        if what == "dead-letters":
            return render.dead_letter(handle, serde.read_dead_letter(record))
        if record.value is None:
            key = (record.key or b"").decode("utf-8", "replace")
            return Text.assemble("  no longer held: ", (plain(key), "bold"))
        if what == "violations":
            return render.violation(_violation(record.value))
        if what == "patterns":
            pattern = _pattern(record.value)
            return render.pattern(pattern, contracts.of(pattern.contract, None))
        if what == "signals":
            return render.signal(_signal(record.value))
        package = _package(record.value)
        return render.package(package, contracts.of(package.contract, package.contract_version))
    except (msgspec.DecodeError, ValueError):
        return Text(
            f"  {record.topic}/{handle} cannot be read: a newer version, or not ours", "red"
        )
