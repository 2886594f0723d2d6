"""The page `/metrics`: what the lanes count, in Prometheus' text format (version 0.0.4).

The hot path counts in plain numbers. They are made into metrics only when the page is read.
"""

from collections.abc import Iterator, Sequence

from prometheus_client import CollectorRegistry, Metric, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from processors.runtime.status import LaneStatus

# Counts of the driver that `handoff_input_records` shows. Its other counts come from the core.
OUTCOMES = ("applied", "duplicates", "refused", "dead_letters")


class LaneCollector(Collector):
    """Makes metrics of the status of each lane, at each scrape."""

    def __init__(self, statuses: Sequence[LaneStatus]) -> None:
        self._statuses = statuses

    def collect(self) -> Iterator[Metric]:
        """All metrics of all lanes."""
        yield from self._accounting()
        yield from self._kafka()
        yield from self._sources()
        yield from self._state()
        for status in self._statuses:
            yield from status.batches.collect()
            yield from status.commits.collect()
            yield from status.lateness.collect()

    def _accounting(self) -> Iterator[Metric]:
        inputs = CounterMetricFamily(
            "handoff_input_records",
            "Input records by what became of them.",
            labels=["processor", "topic", "outcome"],
        )
        events = CounterMetricFamily(
            "handoff_events",
            "What the core counted: handoffs begun, open, closed, and the like.",
            labels=["processor", "topic", "event", "label"],
        )
        outputs = CounterMetricFamily(
            "handoff_output_records", "Committed records by topic.", labels=["processor", "topic"]
        )
        for status in self._statuses:
            for (name, topic, label), number in list(status.counts.items()):
                if name in OUTCOMES:
                    inputs.add_metric([status.processor, topic, name], number)
                else:
                    events.add_metric([status.processor, topic, name, label], number)
            for topic, number in list(status.outputs.items()):
                outputs.add_metric([status.processor, topic], number)
        return iter((inputs, events, outputs))

    def _kafka(self) -> Iterator[Metric]:
        lag = GaugeMetricFamily(
            "handoff_lag_records",
            "Records that wait to be judged.",
            labels=["processor", "topic", "partition"],
        )
        for status in self._statuses:
            for (topic, partition), number in list(status.lag.items()):
                lag.add_metric([status.processor, topic, str(partition)], number)
        yield lag
        transactions = CounterMetricFamily(
            "handoff_transactions", "Transactions by outcome.", labels=["processor", "outcome"]
        )
        for status in self._statuses:
            transactions.add_metric([status.processor, "committed"], status.committed)
            transactions.add_metric([status.processor, "aborted"], status.aborted)
        yield transactions
        probes = CounterMetricFamily(
            "handoff_probes",
            "Probes of receivers: live, not_live, and failed, which told nothing.",
            labels=["processor", "outcome"],
        )
        for status in self._statuses:
            for outcome in ("live", "not_live", "failed"):
                probes.add_metric([status.processor, outcome], status.probes[outcome])
        yield probes
        for name, text in (
            ("restarts", "Lanes that ended and were started anew."),
            ("renewed", "Producers exchanged, as a connection broke during a transaction."),
            ("lost_to_gaps", "Input records that retention removed before they were judged."),
            ("restored_records", "Changelog records read to restore state."),
        ):
            yield self._counter(name, text)

    def _sources(self) -> Iterator[Metric]:
        records = CounterMetricFamily(
            "handoff_source_records",
            "Foreign records by what became of them: mapped, left_out, dead_letters.",
            labels=["source", "outcome", "reason"],
        )
        misses = CounterMetricFamily(
            "handoff_source_lookup_misses",
            "Look-ups in a table of a source that lacks the key.",
            labels=["source", "table"],
        )
        read_to = GaugeMetricFamily(
            "handoff_source_read_to_seconds",
            "The moment up to which a topic was read, in seconds since 1970.",
            labels=["source", "topic"],
        )
        unread = GaugeMetricFamily(
            "handoff_source_topics_unread",
            "Topics of sources that cannot be read.",
            labels=["processor"],
        )
        for status in self._statuses:
            for (source, outcome, label), number in list(status.sources.items()):
                if outcome == "lookup_misses":
                    misses.add_metric([source, label], number)
                else:
                    records.add_metric([source, outcome, label], number)
            for (source, topic), at in list(status.read_to.items()):
                read_to.add_metric([source, topic], at / 1000)
            if status.sources or status.problems:
                unread.add_metric([status.processor], len(status.problems))
        return iter((records, misses, read_to, unread))

    def _state(self) -> Iterator[Metric]:
        keys = GaugeMetricFamily(
            "handoff_state_keys", "Keys in the state.", labels=["processor", "partition"]
        )
        sizes = GaugeMetricFamily(
            "handoff_state_bytes", "Bytes in the state.", labels=["processor", "partition"]
        )
        seconds = GaugeMetricFamily(
            "handoff_restore_seconds", "How long the last restoration took.", labels=["processor"]
        )
        ready = GaugeMetricFamily(
            "handoff_ready",
            "1 when the lane runs or stands by, and nothing blocks it.",
            labels=["processor"],
        )
        for status in self._statuses:
            for partition, (number, size) in list(status.state.items()):
                keys.add_metric([status.processor, str(partition)], number)
                sizes.add_metric([status.processor, str(partition)], size)
            seconds.add_metric([status.processor], status.restore_seconds)
            ready.add_metric([status.processor], int(status.ready))
        deadlines = GaugeMetricFamily(
            "handoff_deadlines", "Tasks with a deadline.", labels=["processor", "partition"]
        )
        sweeps = GaugeMetricFamily(
            "handoff_sweeps_waiting",
            "Tasks to be looked at again, as what they wait for changed.",
            labels=["processor", "partition"],
        )
        for status in self._statuses:
            for family, figures in ((deadlines, status.deadlines), (sweeps, status.sweeps)):
                for partition, number in list(figures.items()):
                    family.add_metric([status.processor, str(partition)], number)
        return iter((keys, sizes, seconds, ready, deadlines, sweeps))

    def _counter(self, name: str, text: str) -> Metric:
        family = CounterMetricFamily(f"handoff_{name}", text, labels=["processor"])
        for status in self._statuses:
            family.add_metric([status.processor], getattr(status, name))
        return family


def registry(statuses: Sequence[LaneStatus], beside: Sequence[Collector] = ()) -> CollectorRegistry:
    """The metrics of these lanes, of what runs `beside` them, and of the process."""
    made = CollectorRegistry()
    for collector in (LaneCollector(statuses), *beside):
        made.register(collector)
    ProcessCollector(registry=made)
    return made


def page(found: CollectorRegistry) -> str:
    """The text of `/metrics`."""
    return generate_latest(found).decode()
