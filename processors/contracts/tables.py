"""What the core looks things up in: all registered contracts and receivers, and who is there."""

import logging
from collections import defaultdict

from msgspec import Struct
from pydantic import ValidationError

from processors.contracts.compiled import (
    Contract,
    Destination,
    compile_contract,
    compile_receiver,
)
from schemas.documents import Document, HandoffContract, Receiver, from_json

log = logging.getLogger(__name__)

CONTRACTS = "handoff.contracts"
RECEIVERS = "handoff.receivers"
LIVENESS = "handoff.receiver-liveness"
# A liveness record older than so many probe intervals says nothing any more: it counts as live.
STALE_INTERVALS = 5


class Resolution(Struct, frozen=True, gc=False):
    """Which contract covers a handoff; `mismatch` says that `to` is not where it belongs."""

    contract: Contract | None
    mismatch: bool


class Tables:
    """Contracts and receivers at one moment. Never changed: a change makes new tables.

    `queues` are the topics that exist, None where nobody knows: then every queue counts as there.
    """

    def __init__(
        self,
        contracts: list[HandoffContract],
        receivers: list[Receiver],
        queues: frozenset[str] | None = None,
    ) -> None:
        self.contracts = {
            document.id: compile_contract(document) for document in in_force(contracts)
        }
        self.receivers: dict[str, Destination] = {
            document.id: compile_receiver(document) for document in receivers
        }
        self.queues = queues
        self._by_workflow: dict[str, list[Contract]] = defaultdict(list)
        for contract in self.contracts.values():
            self._by_workflow[contract.workflow].append(contract)
        self._resolved: dict[tuple[str, str, str, str | None], Resolution] = {}

    def resolve(self, workflow: str, stage: str, to: str, named: str | None) -> Resolution:
        """Which contract covers a handoff from `stage` to the receiver `to`.

        A named contract, or else the one for this workflow, stage and receiver; of several the one
        that names the stage most closely, then one that is not deprecated, then the lowest id.
        """
        question = (workflow, stage, to, named)
        found = self._resolved.get(question)
        if found is None:
            found = self._resolve(workflow, stage, to, named)
            if len(self._resolved) < 10_000:  # senders choose these words: bound what is kept
                self._resolved[question] = found
        return found

    def _resolve(self, workflow: str, stage: str, to: str, named: str | None) -> Resolution:
        if named is not None:
            contract = self.contracts.get(named)
            return Resolution(contract, contract is not None and contract.receiver != to)
        here = [c for c in self._by_workflow.get(workflow, ()) if c.specificity(stage)]
        fitting = [c for c in here if c.receiver == to]
        if fitting:
            return Resolution(
                min(fitting, key=lambda c: (-c.specificity(stage), c.deprecated, c.id)), False
            )
        return Resolution(None, bool(here))


def in_force(documents: list[HandoffContract]) -> list[HandoffContract]:
    """The version of each contract that new handoffs take: the highest active, else deprecated."""
    best: dict[str, HandoffContract] = {}
    for document in documents:
        if document.status not in ("active", "deprecated"):
            continue
        held = best.get(document.id)
        rank = (document.status == "active", document.version)
        if held is None or rank > (held.status == "active", held.version):
            best[document.id] = document
    return [best[id_] for id_ in sorted(best)]


def build_tables(
    topics: dict[str, dict[str, bytes]], existing_topics: frozenset[str] | None
) -> Tables:
    """Tables from the compacted topics, `{topic: {key: JSON}}`.

    A document that cannot be read (written by a newer version, or by hand) is left out and named in
    the log: the others still hold.
    """
    contracts: list[HandoffContract] = []
    receivers: list[Receiver] = []
    for topic in (CONTRACTS, RECEIVERS):
        for key, value in sorted(topics.get(topic, {}).items()):
            document = _read(topic, key, value)
            if isinstance(document, HandoffContract):
                contracts.append(document)
            elif isinstance(document, Receiver):
                receivers.append(document)
    return Tables(contracts, receivers, existing_topics)


def _read(topic: str, key: str, value: bytes) -> Document | None:
    try:
        return from_json(value)
    except ValidationError as error:
        places = sorted({".".join(map(str, e["loc"])) for e in error.errors(include_input=False)})
        log.error(
            "%s: the document %s cannot be read and is left out (at %s); apply it again",
            topic,
            key,
            ", ".join(places),
        )
        return None
