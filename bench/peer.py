"""The same job as a Kafka Streams user would write it: `streams/`, compiled by `streams/build`."""

import os
import shutil
from contextlib import AbstractContextManager
from pathlib import Path

from bench.site import ROOT, Process, Site, running

BUILT = ROOT / "build" / "streams"
_LIB, _CLASSES = BUILT / "lib", BUILT / "classes"
CACHE_BYTES = 64 << 20


def is_built() -> bool:
    """Whether its jars and classes are there, and Java to run them."""
    return _LIB.is_dir() and _CLASSES.is_dir() and shutil.which("java") is not None


class Peer:
    """The Kafka Streams job on a site's tool outputs, with topics of its own for what it
    publishes."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.group = f"{site.settings.application_id}-streams"
        self.packages = f"{self.group}.packages"
        self.violations = f"{self.group}.violations"
        self.changelog = f"{self.group}-tasks-changelog"  # as Kafka Streams names it
        site.make_topic(self.packages)
        site.make_topic(self.violations)

    def run(
        self, directory: Path, number: int = 0, cache_bytes: int = CACHE_BYTES
    ) -> AbstractContextManager[Process]:
        """One instance. Each of a machine has a `number` of its own, and a folder by it. Without
        `cache_bytes` each state is written to the changelog, and not only the last of a commit."""
        state = directory / f"{self.group}-{number}"
        command = [
            *("java", "-Xmx2g", "-Dlog4j2.level=WARN", "-cp", f"{_CLASSES}:{_LIB}/*"),
            "handoffs.HandoffStreams",
            self.site.settings.kafka_bootstrap_servers,
            self.group,
            str(state),
            self.site.topic("handoff.tool-outputs"),
            self.packages,
            self.violations,
            str(cache_bytes),
        ]
        return running(command, dict(os.environ), directory / f"streams-{number}.log")
