"""The benchmark's job in Kafka Streams and our processor make the same of the same tool outputs."""

from pathlib import Path

import pytest

from bench import outcome, peer, workload
from bench.site import Site, wait_for
from tests.conftest import cannot_run

BEGAN = 10**12
EVENTS = 1_000  # of each shape


@pytest.mark.slow
def test_they_hand_off_the_same(apache: str, prefix: str, tmp_path: Path) -> None:
    """Handoffs, lost fields with the output that had them, and rebuilt values; of short tasks, and
    of tasks in which each handoff follows others under the same names."""
    if not peer.is_built():
        cannot_run("kafka", "the Kafka Streams job is not built: run bench/streams/build")
    short = workload.make(EVENTS, BEGAN, name="short")
    long = workload.make(EVENTS, BEGAN + EVENTS, outputs_a_task=40, name="long")
    both = workload.Workload([*short.records, *long.records], short.lost | long.lost)
    site = Site(apache, prefix.removesuffix("."))
    site.load(both.records)
    streams = peer.Peer(site)
    with site.processor(tmp_path) as process:
        wait_for("our commits", process, lambda: site.committed(site.group()) == 2 * EVENTS, 120)
    with streams.run(tmp_path) as process:
        wait_for("its commits", process, lambda: site.committed(streams.group) == 2 * EVENTS, 120)
    ours = outcome.published(site)
    outcome.check(ours, both)
    assert outcome.published(site, streams.packages, streams.violations) == ours
    assert sum(len(handoff.lost) for handoff in ours.values()) > EVENTS / 20
