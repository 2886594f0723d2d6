"""`handoff tail`: what the processor publishes, as it comes."""

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from itertools import islice

import click

from console import cards, output, render
from console.commands.documents import shown_by
from console.dry_run import printed
from console.kafka import ANSWER_SECONDS, Cluster, TopicReader, Watch, connect
from console.remembered import SeenTasks
from processors.runtime.ending import Ended, Ending
from schemas import serde
from schemas.flow import Record

_TOPICS = {
    "packages": cards.PACKAGES,
    "violations": cards.VIOLATIONS,
    "signals": cards.SIGNALS,
    "patterns": cards.PATTERNS,
    "held": cards.HELD,
    "dead-letters": serde.DEAD_LETTERS,
}


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
    `--output json` leaves them as they are. A note that tells a value which only another output of
    the task has is masked as far as a package that came before shows that value. Of what was held
    before, that form shows only what still is.
    When the broker does not answer for some seconds, a line on standard error says so, and the
    command waits for it; with --timeout it ends with status 3.
    """
    cluster = connect()
    reader = TopicReader(cluster, [_TOPICS[what]], from_beginning=from_beginning)
    show = _json if output_ == "json" else _text(cluster)
    seen, quiet_since = 0, time.monotonic()
    try:
        with output.ends_cleanly(), Ending() as ending, suppress(Ended):
            if what == "held" and from_beginning and output_ == "text":
                for held in islice(still_held(_until(ending, reader.to_end())), limit):
                    show(held)
                    seen += 1
                quiet_since = time.monotonic()
            watch = Watch(reader, cluster.settings)
            while limit is None or seen < limit:
                ending.check()
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


def _until(ending: Ending, records: Iterable[Record]) -> Iterator[Record]:
    for record in records:
        ending.check()
        yield record


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


def _text(cluster: Cluster) -> Callable[[Record], None]:
    terminal = render.console()
    contracts, seen = _Contracts(cluster), SeenTasks()

    def show(record: Record) -> None:
        terminal.print(cards.card(record, contracts.of, seen))

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
