"""What a lane checks once a second: whether an input is stalled, whether a topic has changed. Then
it writes the figures for the web pages."""

import logging
import time
from collections.abc import Mapping
from typing import Any

from confluent_kafka import Consumer, TopicPartition

from processors.driver import Driver
from processors.runtime.assignment import Assignment
from processors.runtime.input_poller import InputPoller
from processors.runtime.stalled_input_detector import STALLED_SECONDS, StalledInputDetector
from processors.runtime.status import LaneStatus
from processors.runtime.transactions import Fatal

log = logging.getLogger("handoff.lane")

_EVERY_SECONDS = 1.0


class LaneMonitor:
    """Checks a lane's assignment and writes `status`. `inputs` maps physical names to canonical."""

    def __init__(
        self,
        inputs: Mapping[str, str],
        *,
        consumer: Consumer,
        poller: InputPoller,
        stalled_inputs: StalledInputDetector,
        assignment: Assignment,
        driver: Driver[Any],
        status: LaneStatus,
    ) -> None:
        self._inputs = inputs
        self._consumer = consumer
        self._poller = poller
        self._stalled_inputs = stalled_inputs
        self._assignment = assignment
        self._driver = driver
        self._status = status
        self._checked_at = 0.0
        self._misplaced = 0

    def clear(self) -> None:
        """The assignment has changed, or the inputs are paused: start to measure again."""
        self._stalled_inputs.clear()

    def check(self) -> None:
        """Check, if a second has passed since the last time. Raises `Fatal` when an input is
        stalled, and `Misconfigured` when a topic is not what it was at the start."""
        now = time.monotonic()
        if now - self._checked_at < _EVERY_SECONDS:
            return
        self._checked_at = now
        reached = self._poller.reached()
        stalled = self._stalled_inputs.find(reached)
        if stalled is not None:
            raise Fatal(
                f"nothing came from {stalled[0]}-{stalled[1]} for {STALLED_SECONDS:.0f} s, "
                "although records wait there"
            )
        self._assignment.check_topics_again()
        self._warn_of_misplaced()
        for (topic, number), at in reached.items():
            _, end = self._consumer.get_watermark_offsets(
                TopicPartition(topic, number), cached=True
            )
            self._status.lag[self._inputs[topic], number] = max(0, end - at)
        for number, partition in self._driver.partitions.items():
            _, size = self._assignment.stores[number].measure()
            self._status.state[number] = partition.journal.count, size
            self._status.deadlines[number] = partition.wakes.deadlines
            self._status.sweeps[number] = partition.wakes.waiting

    def _warn_of_misplaced(self) -> None:
        misplaced = sum(n for (name, *_), n in self._status.counts.items() if name == "misplaced")
        if misplaced > self._misplaced == 0:
            log.warning(
                "%s: keys arrive in other partitions than murmur2 gives them; producers must use "
                "partitioner=murmur2_random, or a task's inputs do not meet",
                self._status.processor,
            )
        self._misplaced = misplaced
