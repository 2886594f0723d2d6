"""What the length of tasks costs: events a second and changelog bytes, for tasks of 4, 40 and 400
outputs that are handed off at every fourth; and what a second instance brings."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import Any

import msgspec

from bench import outcome, throughput
from bench.peer import Peer
from bench.rates import MeasuredRun, follow
from bench.site import DOCUMENTS, BenchError, Process, Site, wait_for
from bench.workload import Workload, make
from console.kafka import read_all
from processors.contracts.registry import CONTRACTS, RECEIVERS
from processors.driver import Driver
from processors.integrity.processor import INTEGRITY
from schemas import documents
from schemas.flow import Record
from schemas.loading import load

OUTPUTS_A_TASK = (4, 40, 400)
INSTANCES = (1, 2)
CHANGELOG_OUTPUTS = 4_000
_SHARES = (1, 2, 5)  # of the outputs of the rounds: an output of a long task costs more
_BEGAN = 10**12
_INPUT = "handoff.tool-outputs"


class Shape(msgspec.Struct):
    """Tasks of so many outputs, of `input_bytes` each. `changelog_bytes` are those of keys and
    values in the changelog, an output, with a commit for each output."""

    outputs_a_task: int
    input_bytes: float
    integrity: MeasuredRun
    streams: MeasuredRun | None
    changelog_bytes: float
    streams_changelog_bytes: float | None


class InstanceRates(msgspec.Struct):
    """So many processes that share the partitions."""

    instances: int
    integrity: MeasuredRun
    streams: MeasuredRun | None


def measure(
    servers: str, events: int, peer: bool, directory: Path, say: Callable[[str], None]
) -> list[Shape]:
    """Tasks of each length, `events` outputs of the shortest."""
    found: list[Shape] = []
    for outputs, share in zip(OUTPUTS_A_TASK, _SHARES, strict=True):
        workload = make(events // share, _BEGAN, outputs_a_task=outputs)
        short = make(CHANGELOG_OUTPUTS, _BEGAN, outputs_a_task=outputs)
        say(f"tasks of {outputs} outputs: {len(workload.records):,}")
        site = Site(servers, f"shape{outputs}")
        site.load(workload.records)
        shape = Shape(
            outputs,
            workload.bytes_a_record,
            throughput.integrity(site, workload, directory),
            None,
            changelog_bytes(short),
            None,
        )
        say(f"  integrity    {shape.integrity.whole}")
        say(f"    changelog  {shape.changelog_bytes:9,.0f} bytes an output")
        if peer:
            beside = Site(servers, f"shape{outputs}streams")
            beside.load(workload.records)
            shape.streams = throughput.streams(beside, workload, directory)
            shape.streams_changelog_bytes = _streams_changelog_bytes(
                Site(servers, f"shape{outputs}short"), short, directory
            )
            say(f"  Streams      {shape.streams.whole}")
            say(f"    warm half  {shape.streams.second_half}")
            say(f"    changelog  {shape.streams_changelog_bytes:9,.0f} bytes an output")
        found.append(shape)
    return found


def changelog_bytes(workload: Workload) -> float:
    """What our processor writes for an output: the lane writes what the driver gives it."""
    registered = load([str(DOCUMENTS)])
    tables = {
        CONTRACTS: {documents.key(each): documents.to_json(each) for each in registered.contracts},
        RECEIVERS: {each.id: documents.to_json(each) for each in registered.receivers},
    }
    driver: Driver[Any] = Driver(INTEGRITY, INTEGRITY.build_tables(tables, None))
    driver.assign(0, {})
    written = 0
    for number, (key, value) in enumerate(workload.records):
        at = _BEGAN + number
        driver.step(Record(_INPUT, 0, number, key, value, at), at)
        changes = list(driver.changelog())
        written += sum(len(name.encode()) + len(state or b"") for _, name, state in changes)
        driver.merge(changes)
    return written / len(workload.records)


def _streams_changelog_bytes(site: Site, workload: Workload, directory: Path) -> float:
    """What Kafka Streams writes for an output. Without a cache that is a record for each, whenever
    it commits."""
    peer, events = Peer(site), len(workload.records)
    site.load(workload.records)
    with peer.run(directory, cache_bytes=0) as process:
        wait_for("all committed", process, lambda: site.committed(peer.group) == events)
    written = count = 0
    for record in read_all(site.cluster(), [peer.changelog]):
        written += len(record.key or b"") + len(record.value or b"")
        count += 1
    if count != events:
        raise BenchError(f"the changelog of Kafka Streams has {count:,} records of {events:,}")
    return written / events


def instances(
    servers: str, workload: Workload, peer: bool, directory: Path, say: Callable[[str], None]
) -> list[InstanceRates]:
    """One and two processes. All have partitions before the first output is sent, and the rates
    begin when the last one is on the topic."""
    found: list[InstanceRates] = []
    for count in INSTANCES:
        say(f"instances: {count}")
        site = Site(servers, f"instances{count}")
        ours = [site.processor(directory, ordinal=number) for number in range(count)]
        here = InstanceRates(count, _together(site, site.group(), ours, workload), None)
        outcome.check(outcome.published(site), workload)
        say(f"  integrity    {here.integrity.whole}")
        if peer:
            beside = Peer(Site(servers, f"instances{count}streams"))
            theirs = [beside.run(directory, number) for number in range(count)]
            here.streams = _together(beside.site, beside.group, theirs, workload)
            came = outcome.published(beside.site, beside.packages, beside.violations)
            outcome.check(came, workload)
            say(f"  Streams      {here.streams.whole}")
            say(f"    warm half  {here.streams.second_half}")
        found.append(here)
    return found


def _together(
    site: Site, group: str, starts: Sequence[AbstractContextManager[Process]], workload: Workload
) -> MeasuredRun:
    with ExitStack() as stack:
        processes = [stack.enter_context(start) for start in starts]
        site.until_shared(group, processes)
        site.load(workload.records)
        return follow(site, group, processes, len(workload.records))
