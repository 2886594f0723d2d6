"""What the core looks things up in: all registered contracts and receivers, and who is there."""

import logging
from collections import defaultdict
from collections.abc import Hashable, Iterable, Mapping
from copy import copy
from functools import lru_cache

import msgspec
from msgspec import Struct
from pydantic import ValidationError

from processors.contracts.classified import (
    Classified,
    Named,
    Outline,
    classify,
    fields_of,
    leading_to,
    outline,
)
from processors.contracts.compiled import (
    Contract,
    Destination,
    compile_contract,
    compile_receiver,
)
from processors.contracts.feeding import WorkflowFeed, behind, feeds
from processors.contracts.spelling import folded, spelled
from schemas.documents import Document, HandoffContract, Receiver, complaint, from_json
from schemas.records import Liveness
from schemas.serde import epoch_ms

log = logging.getLogger(__name__)

CONTRACTS = "handoff.contracts"
RECEIVERS = "handoff.receivers"
LIVENESS = "handoff.receiver-liveness"
# A liveness record older than so many probe intervals says nothing any more: it counts as live.
STALE_INTERVALS = 5

MAX_DOCUMENTS = 10_000  # remembered as they were read last
MAX_ANSWERS = 10_000  # senders choose the words of a question: bound what is kept


_NOTHING = Classified()


class Resolution(Struct, frozen=True, gc=False):
    """Which contract covers a handoff; `mismatch` says that `to` is not where it belongs.

    `receiver` is whom `to` means, `spelled` whether only its spelling was another. `trial` is
    judged beside it, and only its violations are published.
    """

    contract: Contract | None
    mismatch: bool
    receiver: str
    spelled: bool = False
    trial: Contract | None = None


class RegistrySnapshot:
    """Contracts, receivers and their liveness at one moment. Never changed: a change makes new.

    `queues` are the topics that exist, None where nobody knows: then every queue counts as there.
    `contracts` are the versions that new handoffs take, `versions` all that ever were registered.
    `teams` are those of the receivers, without case and signs. `unusable` is what is left of
    contracts that cannot be used: what they classify stays so.
    """

    def __init__(
        self,
        contracts: list[HandoffContract],
        receivers: list[Receiver],
        queues: frozenset[str] | None = None,
        unusable: Iterable[Outline] = (),
    ) -> None:
        judging = [*in_force(contracts), *on_trial(contracts)]
        named = _named(judging, unusable)
        self._classified = {workflow: classify(fields) for workflow, fields in named.items()}
        judged_by = {(document.id, document.version) for document in judging}
        self.versions: dict[tuple[str, int], Contract] = {}
        for document in contracts:
            version = document.id, document.version
            classified = self.classified(document.workflow)
            if version not in judged_by:  # what an earlier version classifies holds for itself
                classified = classify([*named.get(document.workflow, ()), *fields_of(document)])
            self.versions[version] = compile_contract(document, classified)
        self.contracts = {
            document.id: self.versions[document.id, document.version]
            for document in in_force(contracts)
        }
        self.receivers: dict[str, Destination] = {
            document.id: compile_receiver(document) for document in receivers
        }
        self.spelled = spelled(receivers)
        self.teams = frozenset([folded(each.team) for each in self.receivers.values()])
        self.queues = queues
        self._liveness: Mapping[str, Liveness] = {}
        self._feeds: tuple[WorkflowFeed, ...] = ()
        self._grace_ms = 0
        self._stale_ms = 0
        self._by_workflow: dict[str, list[Contract]] = defaultdict(list)
        for contract in self.contracts.values():
            self._by_workflow[contract.workflow].append(contract)
        self._trials: dict[str, list[Contract]] = defaultdict(list)
        for document in on_trial(contracts):
            self._trials[document.workflow].append(self.versions[document.id, document.version])
        self._resolved: dict[tuple[str, str, str, str | None], Resolution] = {}
        self._whens: dict[str, dict[str, list[Contract]]] = {}
        for workflow, here in self._by_workflow.items():
            if by_stage := _by_stage([c for c in here if c.when is not None]):
                self._whens[workflow] = by_stage
        self._into: dict[tuple[str, str], list[Contract]] = defaultdict(list)
        for contract in self.contracts.values():
            if contract.when is None and contract.to_stage is not None:
                there = contract.to_workflow or contract.workflow
                self._into[there, contract.to_stage].append(contract)
        self._between: dict[tuple[str, str, str], Contract | None] = {}
        self._across: dict[str, list[Contract]] = defaultdict(list)
        for contract in self.contracts.values():
            if contract.to_workflow is not None:
                self._across[contract.to_workflow].append(contract)
        self._named = named
        self._together: dict[tuple[str, ...], Classified] = {}

    def classified(self, workflow: str, *more: str) -> Classified:
        """What the contracts in force and on trial classify in a workflow, or in several."""
        if not more:
            return self._classified.get(workflow, _NOTHING)
        found = self._together.get((workflow, *more))
        if found is None:
            fields = [each for name in (workflow, *more) for each in self._named.get(name, ())]
            found = classify(fields)
            if len(self._together) < MAX_ANSWERS:
                self._together[workflow, *more] = found
        return found

    def resolve(self, workflow: str, stage: str, to: str, named: str | None) -> Resolution:
        """Which contract covers a handoff from `stage` to the receiver `to`.

        Of `to` an id goes before an alias, and that before another spelling of either.
        A named contract, or else the one for this workflow, stage and receiver; of several the one
        that names the stage most closely, then one that is not deprecated, then the lowest id.
        """
        question = (workflow, stage, to, named)
        found = self._resolved.get(question)
        if found is None:
            found = self._resolve(workflow, stage, to, named)
            if len(self._resolved) < MAX_ANSWERS:
                self._resolved[question] = found
        return found

    def _resolve(self, workflow: str, stage: str, to: str, named: str | None) -> Resolution:
        here = self.at(workflow, stage)
        is_known = to in self.receivers or any(c.receiver == to for c in here)
        if named is not None and named in self.contracts:
            is_known = is_known or self.contracts[named].receiver == to
        spelled = False
        if not is_known:
            to, spelled = self.spelled.meant(to) or (to, False)
        if named is not None:
            contract = self.contracts.get(named)
            trial = self._on_trial(workflow, stage, to, named)
            mismatch = contract is not None and contract.receiver != to
            return Resolution(contract, mismatch, to, spelled and not mismatch, trial)
        fitting = [c for c in here if c.receiver == to]
        if fitting:
            contract = _closest(fitting, stage)
            trial = self._on_trial(workflow, stage, to, contract.id)
            return Resolution(contract, False, to, spelled, trial)
        return Resolution(None, bool(here), to, spelled, self._on_trial(workflow, stage, to, None))

    def at(self, workflow: str, stage: str) -> list[Contract]:
        """The contracts in force for handoffs from a stage."""
        return [c for c in self._by_workflow.get(workflow, ()) if c.specificity(stage)]

    def belongs_at(self, workflow: str, stage: str) -> Contract | None:
        """Of the contracts for a stage the closest: its owner knows who is meant."""
        here = self.at(workflow, stage)
        return _closest(here, stage) if here else None

    def _on_trial(self, workflow: str, stage: str, to: str, id_: str | None) -> Contract | None:
        """The trial version that judges beside a contract, or where there is none, in its place."""
        if id_ is not None:
            return self.beside(workflow, id_)
        trials = self._trials.get(workflow, ())
        fitting = [c for c in trials if c.receiver == to and c.specificity(stage)]
        return _closest(fitting, stage) if fitting else None

    def beside(self, workflow: str, contract: str) -> Contract | None:
        """The version of a contract that is on trial."""
        return next((c for c in self._trials.get(workflow, ()) if c.id == contract), None)

    def whens(self, workflow: str, stage: str) -> list[Contract]:
        """The contracts that may begin a handoff of their own at a stage, in the order of ids."""
        by_stage = self._whens.get(workflow)
        if by_stage is None:
            return []
        return by_stage.get(stage) or by_stage.get("*", [])

    def between(self, workflow: str, before: str, stage: str) -> Contract | None:
        """The contract that a move between two stages falls under although nobody declared it.

        It leads to the later one and begins nothing by itself. Of several one that is not
        deprecated, then the one that names the former stage most closely, then the lowest id.
        """
        if (workflow, stage) not in self._into:
            return None
        place = workflow, before, stage
        if place not in self._between:
            into = self._into[workflow, stage]
            fitting = [c for c in into if c.specificity_from(workflow, before)]
            found = min(
                fitting,
                key=lambda c: (c.deprecated, -c.specificity_from(workflow, before), c.id),
                default=None,
            )
            if len(self._between) >= MAX_ANSWERS:
                return found
            self._between[place] = found
        return self._between[place]

    def contracted(self, workflow: str) -> bool:
        """Whether a workflow has a contract in force: without one nobody has promised anything."""
        return workflow in self._by_workflow

    def promised(self, workflow: str) -> bool:
        """Whether anything was promised of its handoffs, by a contract that leads into it, too."""
        return workflow in self._by_workflow or workflow in self._across

    def documents(self, workflow: str, from_stage: str, to_stage: str) -> Contract | None:
        """The contract in force that a move between two stages is documented by; the closest."""
        fitting = [
            c
            for c in (*self._by_workflow.get(workflow, ()), *self._across.get(workflow, ()))
            if c.to_stage == to_stage
            and (c.to_workflow or c.workflow) == workflow
            and c.specificity_from(workflow, from_stage)
        ]
        return min(
            fitting,
            key=lambda c: (-c.specificity_from(workflow, from_stage), c.deprecated, c.id),
            default=None,
        )

    def with_liveness(
        self, liveness: Mapping[str, Liveness], grace_ms: int, stale_ms: int
    ) -> "RegistrySnapshot":
        """The same documents with what a probe found of the receivers."""
        other = copy(self)
        other._liveness = liveness
        other._grace_ms = grace_ms
        other._stale_ms = stale_ms
        return other

    def with_feeds(self, found: tuple[WorkflowFeed, ...]) -> "RegistrySnapshot":
        """The same documents with the sources, and how far they were read."""
        other = copy(self)
        other._feeds = found
        return other

    def feed(self, source: str | None) -> WorkflowFeed | None:
        """An active source by its id."""
        return next((feed for feed in self._feeds if feed.source == source), None)

    def behind(self, workflow: str, moment: int) -> WorkflowFeed | None:
        """A source of a workflow that was not read past a moment (epoch ms), None where all
        were."""
        return behind(self._feeds, workflow, moment) if self._feeds else None

    def version(self, contract: str | None, version: int | None) -> Contract | None:
        """The registered version that a sent handoff keeps."""
        if contract is None or version is None:
            return None
        return self.versions.get((contract, version))

    def silent(self, receiver: str, now: int) -> bool:
        """Whether a receiver's consumer group has been without a member for longer than its grace.

        Unknown counts as live: no record, or one that the probe has not renewed.
        """
        found = self._liveness.get(receiver)
        if found is None or found.live or found.last_live_at is None:
            return False
        if now - epoch_ms(found.checked_at) > self._stale_ms:
            return False
        registered = self.receivers.get(receiver)
        grace = max(self._grace_ms, (registered.checks_every if registered else None) or 0)
        return now - epoch_ms(found.last_live_at) >= grace

    def absence(self, receiver: str) -> str | None:
        """Why nobody receives what goes to a receiver (a stable word), None where somebody may."""
        registered = self.receivers.get(receiver)
        if registered is None:
            return "unregistered"
        if registered.retired:
            return "retired"
        queue = registered.queue
        if queue is not None and self.queues is not None and queue not in self.queues:
            return "no_queue"
        return None

    def named_queues(self) -> set[str]:
        """The queues of the receivers that are not retired, whether they exist or not."""
        queues = {each.queue for each in self.receivers.values() if not each.retired}
        return {queue for queue in queues if queue is not None}

    def facts(self, now: int) -> dict[str, Hashable]:
        """What open handoffs depend on, by subject, at `now` (epoch ms)."""
        found: dict[str, Hashable] = {}
        for id_, receiver in self.receivers.items():
            owner = receiver.owner_at(now)
            found[f"receiver {id_}"] = (
                self.absence(id_),
                owner and (owner.name, owner.contact),
                receiver.team,
                receiver.queue,
                self.silent(id_, now),
            )
        for id_, contract in self.contracts.items():
            found[f"contract {id_}"] = contract.version
        for name, id_ in self.spelled.spellings.items():
            found[f"spelled {name}"] = id_
        for workflow, contracts in self._by_workflow.items():
            found[f"workflow {workflow}"] = tuple(
                [(each.id, each.version, each.deprecated) for each in contracts]
            )
        return found


def _named(contracts: list[HandoffContract], unusable: Iterable[Outline]) -> dict[str, list[Named]]:
    """All fields by workflow, with those of the workflows from which tasks go on in it."""
    fields: dict[str, list[Named]] = defaultdict(list)
    for contract in contracts:
        fields[contract.workflow] += fields_of(contract)
    for left in unusable:
        fields[left.workflow] += left.named()
    before = leading_to(contracts)
    there = {*fields, *(c.to.workflow for c in contracts if c.to.workflow is not None)}
    return {name: [each for one in before(name) for each in fields.get(one, ())] for name in there}


def _by_stage(contracts: list[Contract]) -> dict[str, list[Contract]]:
    """The contracts at each stage that one of them names; at all other stages, those of '*'."""
    found: defaultdict[str, list[tuple[int, Contract]]] = defaultdict(list)
    for number, contract in enumerate(contracts):
        for stage in contract.stages:
            found[stage].append((number, contract))
    anywhere = found.pop("*", [])
    by_stage = {
        stage: [contract for _, contract in sorted(here + anywhere, key=lambda each: each[0])]
        for stage, here in found.items()
    }
    return by_stage | ({"*": [contract for _, contract in anywhere]} if anywhere else {})


def _closest(contracts: list[Contract], stage: str) -> Contract:
    return min(contracts, key=lambda c: (-c.specificity(stage), c.deprecated, c.id))


def on_trial(documents: list[HandoffContract]) -> list[HandoffContract]:
    """The highest trial version of each contract, by id."""
    best: dict[str, HandoffContract] = {}
    for document in documents:
        held = best.get(document.id)
        if document.status == "trial" and (held is None or document.version > held.version):
            best[document.id] = document
    return [best[id_] for id_ in sorted(best)]


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
    topics: dict[str, dict[str, bytes]],
    existing_topics: frozenset[str] | None,
    grace_ms: int = 600_000,
    stale_ms: int = 25_000,
) -> RegistrySnapshot:
    """Tables from the compacted topics, `{topic: {key: JSON}}`.

    A receiver's group may be without a member for `grace_ms`, or until its people look again; what
    a probe found longer than `stale_ms` ago counts as unknown.

    A document that cannot be read (written by a newer version, or by hand) is left out and named in
    the log: the others still hold.
    """
    liveness: dict[str, Liveness] = {}
    for key, value in topics.get(LIVENESS, {}).items():
        try:
            record = _read_liveness(value)
        except (msgspec.DecodeError, UnicodeDecodeError):
            log.error("%s: the record %s cannot be read and is left out", LIVENESS, key)
            continue
        if record.receiver == key:  # else nobody's: the probe writes the key of its receiver
            liveness[key] = record
    documents = (tuple(sorted(topics.get(topic, {}).items())) for topic in (CONTRACTS, RECEIVERS))
    snapshot = _tables(*documents, existing_topics).with_liveness(liveness, grace_ms, stale_ms)
    return snapshot.with_feeds(feeds(topics))


@lru_cache(maxsize=2)  # a probe renews the liveness every few seconds, and documents stay
def _tables(
    contract_items: tuple[tuple[str, bytes], ...],
    receiver_items: tuple[tuple[str, bytes], ...],
    existing_topics: frozenset[str] | None,
) -> RegistrySnapshot:
    contracts: list[HandoffContract] = []
    receivers: list[Receiver] = []
    unusable: list[Outline] = []
    for topic, items in ((CONTRACTS, contract_items), (RECEIVERS, receiver_items)):
        for key, value in items:
            document = _read(topic, key, value)
            if isinstance(document, HandoffContract):
                contracts.append(document)
            elif isinstance(document, Receiver):
                receivers.append(document)
            elif topic == CONTRACTS and (left := outline(value)) is not None:
                unusable.append(left)
    return RegistrySnapshot(contracts, receivers, existing_topics, unusable)


_read_liveness = msgspec.json.Decoder(Liveness).decode


@lru_cache(maxsize=MAX_DOCUMENTS)
def _read(topic: str, key: str, value: bytes) -> Document | None:
    """A document, None where it cannot be used: that is said once, and not at each change."""
    try:
        return from_json(value)
    except ValidationError as error:
        log.error(
            "%s: the document %s cannot be used and is left out: %s; correct it and apply it again",
            topic,
            key,
            complaint(error),
        )
        return None
