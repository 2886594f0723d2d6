"""What integrity makes of the outputs of a source, without a broker."""

from collections.abc import Iterable, Iterator
from typing import Any, Final

import msgspec

from console import cards, output, render
from console.commands.edges import drawn
from console.dry_run import DryRun
from console.follower import EDGES
from console.limits import insights_limits, limits
from console.lines import Line
from console.remembered import SeenTasks
from console.render import percent
from console.shown import shown_of
from console.source_report import counted
from processors.contracts.registry import CONTRACTS, RECEIVERS
from processors.integrity.processor import integrity
from processors.runtime.settings import load_settings
from schemas import documents
from schemas.flow import Record
from schemas.loading import Documents
from schemas.records import Edge
from topics.catalogue import DEFAULT_PARTITIONS

_MOST_CARDS: Final = 12
_SHOWN = (cards.PACKAGES, cards.HELD, cards.VIOLATIONS, "handoff.dead-letters")


class JudgedOutputs:
    """What integrity makes of the outputs, on the clock of their event times."""

    def __init__(self, beside: Documents, lines: Iterable[Line]) -> None:
        tables = {
            CONTRACTS: {documents.key(each): documents.to_json(each) for each in beside.contracts},
            RECEIVERS: {documents.key(each): documents.to_json(each) for each in beside.receivers},
        }
        settings = load_settings()
        within = msgspec.structs.replace(limits(settings), task_ttl_ms=None, handoff_ttl_ms=None)
        dry = DryRun(integrity(within), tables, DEFAULT_PARTITIONS, None, insights_limits(settings))
        self._dry = dry
        self._seen = SeenTasks()
        self._contracts = shown_of(tables[CONTRACTS].values())
        self._told: list[Record] = []  # the first of what people read
        self._more = 0
        edges: dict[bytes | None, Edge] = {}
        for made in dry.run(self._noted(lines)):
            if made.topic == EDGES and made.value is not None:
                edges[made.key] = msgspec.json.decode(made.value, type=Edge)
            elif made.topic in _SHOWN and made.value is not None:
                place = len(self._told)
                if place == _MOST_CARDS:
                    self._more += 1
                    continue
                self._told.append(
                    Record(
                        topic=made.topic,
                        partition=0,
                        offset=place,
                        key=made.key,
                        value=made.value,
                        timestamp=dry.now,
                        headers=made.headers,
                    )
                )
        self._edges = sorted(edges.values(), key=lambda edge: (-edge.moves, edge.from_, edge.to))

    def _noted(self, lines: Iterable[Line]) -> Iterator[Line]:
        """The lines; what they hold is remembered, as classified words are masked in cards."""
        for line in lines:
            self._seen.note_input(line.topic, line.value)
            yield line

    def tell(self) -> None:
        """Cards, the map and the shares, for people."""
        terminal = render.console()
        output.say("")
        for record in self._told:
            terminal.print(cards.card(record, lambda _id, _version: self._contracts, self._seen))
        if self._more:
            output.say(
                f"and {self._more:,} more; for all: --outputs | handoff dry-run --show ... -"
            )
        if self._edges:
            output.say("")
            drawn(self._edges)
        summary = self._dry.summary
        sent = sum(each for each, _, _ in summary.handoffs.values())
        output.say("")
        output.say(
            f"{output.number(len(summary.handoffs), 'handoff')}: {sent:,} sent, "
            f"{len(summary.handoffs) - sent:,} held; violations: "
            f"{counted(summary.opened) or 'none'}"
        )
        shares = summary.shares()
        if shares is not None:
            output.say(
                f"arrived from the senders (fidelity) {percent(shares[0])}, the receivers get "
                f"(completeness) {percent(shares[1])}"
            )

    def as_json(self) -> dict[str, Any]:
        """The same for programs."""
        summary, shares = self._dry.summary, self._dry.summary.shares()
        return {
            "handoffs": len(summary.handoffs),
            "sent": sum(each for each, _, _ in summary.handoffs.values()),
            "violations": summary.opened,
            "dead_letters": summary.refused,
            "fidelity": shares and shares[0],
            "completeness": shares and shares[1],
            "edges": self._edges,
        }
