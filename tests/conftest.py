"""Brokers for tests, and what runs where.

Tests run in the order fast, embedded, kafka, docker; `make test` runs those before kafka in several
processes. A test is put in a tier by the broker fixture it asks for, or by its marker.
`HANDOFF_REQUIRE_KAFKA=1` turns "cannot run here" into a failure, and a session in which no such
test passed into one too; so do `HANDOFF_REQUIRE_DOCKER`, `HANDOFF_REQUIRE_ALERTMANAGER` and
`HANDOFF_REQUIRE_BROWSER`.
"""

from __future__ import annotations

import gc
import os
import uuid
from collections import Counter
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from console.brokers import ApacheKafka, BrokerError, EmbeddedBroker
from tests import alertmanager as alertmanagers
from tests import outcomes
from tests.browser import chromium
from tests.commands import HandoffCommand
from tests.lanes import Bench
from tests.secured import SecuredKafka

# How long an example takes hangs on what else the machine does: no test is timed.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")

TIERS = {"embedded": 1, "alertmanager": 1, "browser": 1, "kafka": 2, "docker": 3}
FIXTURES = {
    "embedded": "embedded",
    "apache": "kafka",
    "secured": "kafka",
    "alertmanager": "alertmanager",
    "window": "browser",
}
SHARED = Path(__file__).resolve().parents[2] / "shared"
PASSED = pytest.StashKey["PassedTiers"]()
_FAILURE_LINES = 60


def required(tier: str) -> bool:
    """Whether the caller demands that this tier ("kafka", "browser" and so on) runs."""
    return os.environ.get(f"HANDOFF_REQUIRE_{tier.upper()}") == "1"


def cannot_run(tier: str, why: str) -> None:
    """Skip the test with a reason, or fail it where the tier is required."""
    if required(tier):
        pytest.fail(f"HANDOFF_REQUIRE_{tier.upper()}=1, but: {why}", pytrace=False)
    pytest.skip(why)


@pytest.fixture(scope="session")
def embedded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Bootstrap servers of an embedded broker that the whole session shares."""
    with EmbeddedBroker(tmp_path_factory.mktemp("embedded")) as broker:
        yield broker.bootstrap_servers


@pytest.fixture(scope="session")
def apache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Bootstrap servers of an Apache Kafka that the whole session shares."""
    broker = ApacheKafka(tmp_path_factory.mktemp("apache"))
    try:
        broker.start()
    except BrokerError as error:
        cannot_run("kafka", str(error))
    yield broker.bootstrap_servers
    broker.stop()


@pytest.fixture(scope="session")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecuredKafka]:
    """An Apache Kafka with TLS, users and ACLs that the whole session shares."""
    broker = SecuredKafka(tmp_path_factory.mktemp("secured"))
    try:
        broker.start()
    except BrokerError as error:
        cannot_run("kafka", str(error))
    yield broker
    broker.stop()


@pytest.fixture
def alertmanager(tmp_path: Path) -> Iterator[alertmanagers.RunningAlertmanager]:
    """A real Alertmanager that holds nothing yet."""
    if (why := alertmanagers.missing()) is not None:
        cannot_run("alertmanager", why)
    running = alertmanagers.RunningAlertmanager(tmp_path)
    running.start()
    yield running
    running.stop()


@pytest.fixture(scope="module")
def window() -> Iterator[chromium.ChromiumWindow]:
    """A window of a real Chromium, for all tests of a module."""
    if (why := chromium.missing()) is not None:
        cannot_run("browser", why)
    made = chromium.ChromiumWindow()
    yield made
    made.close()


@pytest.fixture
def prefix() -> str:
    """A topic prefix (and name for consumer groups) that no other test uses: `t1a2b3c4d.`."""
    return f"t{uuid.uuid4().hex[:8]}."


@pytest.fixture
def bench(embedded: str, prefix: str, tmp_path: Path) -> Iterator[Bench]:
    """The toy's topics on an embedded broker."""
    with Bench(embedded, prefix, tmp_path) as made:
        yield made


@pytest.fixture
def real(apache: str, prefix: str, tmp_path: Path) -> Iterator[Bench]:
    """The toy's topics on Apache Kafka."""
    with Bench(apache, prefix, tmp_path) as made:
        yield made


@pytest.fixture
def handoff(
    embedded: str, prefix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> HandoffCommand:
    """The command `handoff` on an embedded broker with all topics; the environment names both."""
    monkeypatch.chdir(tmp_path)
    command = HandoffCommand(embedded, prefix)
    for name, value in command.environment.items():
        monkeypatch.setenv(name, value)
    assert command("topics", "apply").exit_code == 0
    return command


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder `shared` beside the repository (samples, data); tests without it are skipped."""
    return SHARED


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        fixtures = getattr(item, "fixturenames", ())
        for fixture, marker in FIXTURES.items():
            if fixture in fixtures:
                item.add_marker(marker)
        if "shared" in fixtures:
            item.add_marker("shared")
        if item.get_closest_marker("shared") and not SHARED.is_dir():
            item.add_marker(pytest.mark.skip(reason="no folder `shared` beside the repository"))
    # What is slow begins first within its tier, so that no other process waits for it at the end.
    items.sort(
        key=lambda item: (
            max(map(TIERS.__getitem__, tiers(item)), default=0),
            item.get_closest_marker("slow") is None,
        )
    )


def pytest_collection_finish() -> None:
    """What was collected stays: the garbage collector need not look through it again and again."""
    gc.collect()
    gc.freeze()


def tiers(item: pytest.Item) -> set[str]:
    return {mark.name for mark in item.iter_markers() if mark.name in TIERS}


class PassedTiers:
    """Counts the tests that passed, by tier, in the process that all reports come to."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "call" and report.passed:
            self.counts.update(TIERS.keys() & report.keywords.keys())


class FailureFile:
    """Adds the end of each failure to a file: `make test` shows it after its last pass."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            lines = report.longreprtext.splitlines()[-_FAILURE_LINES:]
            with self._path.open("a") as file:
                file.write("\n".join([f"--- {report.nodeid} ({report.when})", *lines]) + "\n")


def pytest_configure(config: pytest.Config) -> None:
    config.stash[PASSED] = PassedTiers()
    config.pluginmanager.register(config.stash[PASSED])
    failures = os.environ.get("HANDOFF_FAILURES")
    if failures is not None and not hasattr(config, "workerinput"):
        config.pluginmanager.register(FailureFile(Path(failures).resolve()))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    fault = item.get_closest_marker("fault")
    if call.when == "call" and fault is not None and not report.skipped:
        outcomes.write(fault.args[0], passed=call.excinfo is None)
    return report


def pytest_sessionfinish(session: pytest.Session) -> None:
    if missing_tiers(session.config) and not session.config.option.collectonly:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    for tier in missing_tiers(config):
        terminalreporter.write_line(
            f"FAILED: HANDOFF_REQUIRE_{tier.upper()}=1, but no such test ran"
        )


def missing_tiers(config: pytest.Config) -> list[str]:
    if hasattr(config, "workerinput"):  # one of several processes: it has a part of the tests
        return []
    passed = config.stash[PASSED].counts
    return [tier for tier in TIERS if required(tier) and not passed[tier]]
