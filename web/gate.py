"""The way to Kafka for all pages: records that are looked at, documents, and what people say."""

import threading
from collections.abc import Iterable, Sequence
from typing import Protocol

from console.asking import AMENDMENTS, write_said
from console.kafka import Cluster, Writer, connect, read_table, write_all
from processors.contracts.registry import CONTRACTS, RECEIVERS
from processors.runtime.settings import Settings
from schemas import serde
from schemas.flow import Record
from schemas.records import Amendment, ConsoleAudit
from web.model.queries.common import Place
from web.records import RecordReader

AUDIT = "handoff.console-audit"
_AGAIN = "say it again"


class Gate(Protocol):
    """What pages ask of Kafka. Each raises `CommandError` when it does not answer, or refuses."""

    def read(self, places: Iterable[Place]) -> dict[Place, Record]:
        """The records at these places that are still there."""

    def documents(self) -> dict[str, dict[str, bytes]]:
        """What the topics of contracts and receivers hold, by topic and key."""

    def amend(self, bodies: Sequence[Amendment]) -> None:
        """Write amendments, and wait until they were taken. Raises `Refused` for a text that is
        too long."""

    def audit(self, entry: ConsoleAudit) -> None:
        """Write down that a value is about to be shown, and wait until that was taken."""

    def alert(self, topic: str, key: str, value: bytes | None) -> None:
        """Write what a person says of alerts (`handoff.silences`, `handoff.alert-actions`), and
        wait until that was taken; None ends a silence."""

    def close(self) -> None:
        """Give the connections back."""


class KafkaGate:
    """The gate to a cluster. Any thread may use it."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._records = RecordReader(settings)
        self._lock = threading.Lock()
        self._known: Cluster | None = None

    def read(self, places: Iterable[Place]) -> dict[Place, Record]:
        """The records at these places that are still there."""
        return self._records.read(places)

    def documents(self) -> dict[str, dict[str, bytes]]:
        """What the topics of contracts and receivers hold, by topic and key."""
        cluster = self._cluster()
        return {
            name: read_table(cluster, name) if cluster.has(name) else {}
            for name in (CONTRACTS, RECEIVERS)
        }

    def amend(self, bodies: Sequence[Amendment]) -> None:
        """Write amendments, and wait until they were taken."""
        cluster = self._cluster()
        cluster.check("WRITE", [AMENDMENTS])
        write_said(cluster, AMENDMENTS, bodies, _AGAIN)

    def audit(self, entry: ConsoleAudit) -> None:
        """Write down that a value is about to be shown, and wait until that was taken."""
        cluster = self._cluster()
        cluster.check("WRITE", [AUDIT])
        writer = Writer(cluster)
        writer.write(AUDIT, entry.who.encode(), serde.encode(entry), [], entry.id)
        writer.flush()
        if writer.failed:
            raise writer.error(
                f"{cluster.name(AUDIT)} did not take the entry, so no value is shown: "
                f"{writer.failed[0][1]}; {_AGAIN}"
            )

    def alert(self, topic: str, key: str, value: bytes | None) -> None:
        """Write what a person says of alerts, and wait until that was taken."""
        write_all(self._cluster(), topic, [(key, value)])

    def close(self) -> None:
        """Give the connections back."""
        self._records.close()

    def _cluster(self) -> Cluster:
        """The cluster; where it was away it is asked anew."""
        with self._lock:
            if self._known is None:
                self._known = connect(self._settings)
            return self._known
