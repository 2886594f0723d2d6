"""The parts of the runtime that need no broker: settings, errors, starts, stores, metrics."""

import logging
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient

from processors.integrity.processor import INTEGRITY
from processors.runtime import clients, metrics
from processors.runtime.disk import DiskStore
from processors.runtime.global_tables import GlobalTables
from processors.runtime.restoration import Bounds, Start, check_anchored, starts
from processors.runtime.retry_backoff import RetryBackoff
from processors.runtime.settings import Settings, SettingsError, load_settings
from processors.runtime.state import MemoryStore, Store, open_store
from processors.runtime.status import LaneStatus
from processors.runtime.transactions import (
    AbortCause,
    ErrorKind,
    Fatal,
    Misconfigured,
    cause_of,
    is_fenced,
    kind_of,
)

IN0, IN1 = ("in0", 0), ("in1", 0)
_ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No settings but the test's own."""
    import os

    for name in list(os.environ):
        if name.startswith("HANDOFF_"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


# --- what blocks a lane -------------------------------------------------------------------------


def test_what_keeps_a_lane_from_running_is_over_once_it_runs(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "handoff.lane")
    status = LaneStatus("toy", "running")
    blockage = RetryBackoff(status)
    blockage.failed("no room (full); make some, and it goes on by itself", keeps_from_running=True)
    assert not status.ready
    blockage.runs()
    assert (status.ready, blockage.failing) == (True, False)
    assert caplog.messages[-1] == "toy goes on; it was blocked: no room (full)"
    # What Kafka refuses is refused while it runs.
    blockage.failed("the right WRITE is missing; grant it")
    blockage.runs()
    assert (status.ready, blockage.failing) == (False, True)
    blockage.succeeded()
    assert caplog.messages[-1] == "toy goes on; it was blocked: the right WRITE is missing"


# --- settings -----------------------------------------------------------------------------------


def test_options_win_over_environment_over_file_over_defaults(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "handoff.toml").write_text(
        'application_id = "file"\npartitions = 3\nweb_port = 1\n'
        '[kafka]\nsecurity.protocol = "SSL"\n"linger.ms" = 7\n'
        '"enable.ssl.certificate.verification" = true\n'
    )
    monkeypatch.setenv("HANDOFF_PARTITIONS", "4")
    monkeypatch.setenv("HANDOFF_WEB_PORT", "2")
    monkeypatch.setenv("HANDOFF_KAFKA__LINGER_MS", "9")
    found = load_settings(web_port=3)
    assert (found.application_id, found.partitions, found.web_port) == ("file", 4, 3)
    assert found.kafka == {
        "security.protocol": "SSL",
        "linger.ms": "9",
        "enable.ssl.certificate.verification": "true",
    }
    assert found.topic_prefix == "handoff."


def test_a_named_file_must_be_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HANDOFF_CONFIG", "elsewhere.toml")
    with pytest.raises(SettingsError, match=r"elsewhere\.toml, which HANDOFF_CONFIG names"):
        load_settings()


def test_an_unknown_log_level_is_one_clear_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HANDOFF_LOG_LEVEL", "loud")
    with pytest.raises(SettingsError, match="HANDOFF_LOG_LEVEL must be one of DEBUG"):
        load_settings()
    monkeypatch.setenv("HANDOFF_LOG_LEVEL", "debug")
    load_settings()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("partitons = 3\n", "no setting partitons; did you mean partitions?"),
        ("partitions = 0\n", "HANDOFF_PARTITIONS, or partitions in handoff.toml"),
        ("partitions = 0\n", "is wrong: 0 is given, and it must be at least 1"),
        ("web_port = 99999\n", "99999 is given, and it must be at most 65,535"),
        (
            f"early_grace_ms = {10**20}\n",
            f"{10**20} is given, and it must be at most 315,360,000,000",
        ),
        ('ordinal = "first"\n', "is wrong: it must be a whole number"),
        ('rebuild = "often"\n', "is wrong: it must be true or false"),
        ('state = "dsik"\n', "is wrong: it must be memory or disk; did you mean disk?"),
        ('topic_prefix = "a b"\n', "is wrong: it must be letters, digits, '.', '_' and"),
        (
            'kafka_bootstrap_servers = ""\n',
            "(HANDOFF_KAFKA_BOOTSTRAP_SERVERS, or kafka_bootstrap_servers in handoff.toml) is "
            "wrong: it is empty; give it a value, or leave it out",
        ),
        (
            f'topic_prefix = "{"x" * 101}"\n',
            "is wrong: it has 101 characters, and it must be at most 100",
        ),
        ("partitions = \n", "is not TOML"),
        ('[kafka]\n"group.id" = "x"\n', "group.id cannot be set: it follows from application_id"),
        ('[kafka]\nisolation.level = "x"\n', "only committed records may be judged"),
        ('[kafka]\nmetadata.broker.list = "x"\n', "set kafka_bootstrap_servers instead"),
        (
            "[kafka]\nmax.poll.interval.ms = 1000\n",
            "wrong (HANDOFF_KAFKA__MAX_POLL_INTERVAL_MS, or max.poll.interval.ms under [kafka] in "
            "handoff.toml): max.poll.interval.ms is 1,000, and",
        ),
        (
            "[kafka]\nsession.timeout.ms = 400000\n",
            "(HANDOFF_KAFKA__SESSION_TIMEOUT_MS, or session.timeout.ms under [kafka]",
        ),
        ("kafka = 3\n", "a table of librdkafka properties is needed"),
        ("max_fields = true\n", "is wrong: it must be a whole number, and not true or false"),
        ("ordinal = true\n", "is wrong: it must be a whole number, and not true or false"),
        ("probe_interval = false\n", "is wrong: it must be a number, and not true or false"),
        ("partitions = inf\n", "is wrong: it must be a number"),
        ("probe_interval = nan\n", "nan is given, and it must be at"),
        ("ordinal = -1\n", "is wrong: -1 is given, and it must be at least 0"),
        ("ordinal = 10000\n", "is wrong: 10000 is given, and it must be at most 9,999"),
        (f"ordinal = {10**50}\n", "a number of 51 digits is given, and it must be at most 9,999"),
        (f"ordinal = {'1' * 5000}\n", "is not TOML"),
        (f'ordinal = "{"1" * 5000}"\n', "is wrong: it must be a whole number of fewer digits"),
        ('web_host = ""\n', "is wrong: it is empty; give it a value, or leave it out"),
        ('web_host = "a b"\n', "is wrong: it must be the name or the address of a host"),
        ('state_dir = ""\n', "is wrong: it is empty; give it a value, or leave it out"),
        ('state_dir = "\\u0000"\n', "is wrong: it must be a path, and none has the character NUL"),
        ("state_dir = 5\n", "is wrong: it must be text, in quotes"),
        ("application_id = 5\n", "is wrong: it must be text, in quotes"),
        ('kafka_bootstrap_servers = "k"\n', "wrong: address 1 of it has no host or no port; write"),
        ('kafka_bootstrap_servers = "k:1,"\n', "address 2 of it has no host or no port"),
        ('kafka_bootstrap_servers = "k:1,k:0"\n', "address 2 of it has no host or no port"),
        ('kafka_bootstrap_servers = "k:99999"\n', "address 1 of it has no host or no port"),
        ("[kafka]\na.b = [1]\n", "a property of Kafka's clients is wrong (HANDOFF_KAFKA__"),
        (
            "[kafka]\na.b = [1]\n",
            "A_B, or a.b under [kafka] in handoff.toml): a.b must be one value, and not a list",
        ),
        (
            '[kafka]\n"" = "x"\n',
            "clients is wrong (HANDOFF_KAFKA__..., or [kafka] in handoff.toml): a",
        ),
        (
            '[kafka]\nsasl."" = "x"\n',
            "a property under sasl has no name; write HANDOFF_KAFKA__SASL",
        ),
        ('"" = "x"\n', "handoff.toml: a setting has no name; remove it"),
    ],
)
def test_bad_settings_are_one_clear_sentence(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "handoff.toml").write_text(text)
    with pytest.raises(SettingsError) as caught:
        load_settings()
    assert says in str(caught.value)
    assert "\n" not in str(caught.value).removesuffix("\n")


@pytest.mark.parametrize(
    "servers",
    ["localhost:9092", "a:1,b:2 , [::1]:9092", "PLAINTEXT://kafka_1.svc:65535", "10.0.0.1:9092"],
)
def test_addresses_are_taken_as_clients_take_them(servers: str) -> None:
    assert load_settings(kafka_bootstrap_servers=servers).kafka_bootstrap_servers == servers


def test_all_that_is_wrong_with_the_settings_is_told_at_once(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "handoff.toml").write_text(
        'partitons = 3\nmax_fields = 0\nweb_port = -5\nweb_host = ""\n'
        '[kafka]\nacks = 1\n"group.id" = "x"\n'
    )
    monkeypatch.setenv("HANDOFF_LOG_LEVEL", "loud")
    monkeypatch.setenv("HANDOFF_WEB_PORT", "many")
    monkeypatch.setenv("HANDOFF_ORDINAL", "")
    with pytest.raises(SettingsError) as caught:
        load_settings()
    first, *lines = str(caught.value).splitlines()
    assert first == "8 things are wrong with the settings:"
    for sign in (
        "no setting partitons",
        "HANDOFF_LOG_LEVEL",
        "HANDOFF_WEB_PORT, or web_port in handoff.toml) is wrong: it must be a whole number",
        "HANDOFF_ORDINAL",
        "HANDOFF_MAX_FIELDS",
        "HANDOFF_WEB_HOST",
        "acks cannot be set",
        "group.id cannot be set",
    ):
        assert sum(sign in line for line in lines) == 1, sign


def test_all_that_is_wrong_with_properties_is_told_at_once(tmp_path: Path) -> None:
    (tmp_path / "handoff.toml").write_text(
        '[kafka]\nacks = 1\na.b = [1]\na.c = [2]\n"" = 1\nsession.timeout.ms = "x"\n'
    )
    with pytest.raises(SettingsError) as caught:
        load_settings()
    first, *lines = str(caught.value).splitlines()
    assert first == "5 things are wrong with the settings:"
    for sign in (
        "a.b must be one value",
        "a.c must be one value",
        "a property has no name",
        "acks cannot be set",
        "session.timeout.ms must be a whole number",
    ):
        assert sum(sign in line for line in lines) == 1, sign


@pytest.mark.parametrize("given", ["x", "kafka-1:9092", '{"linger.ms": 5}', ""])
def test_kafka_alone_is_no_variable(monkeypatch: pytest.MonkeyPatch, given: str) -> None:
    monkeypatch.setenv("HANDOFF_KAFKA", given)
    monkeypatch.setenv("HANDOFF_KAFKA__SASL_PASSWORD", "hunter2")
    with pytest.raises(
        SettingsError, match="the addresses as HANDOFF_KAFKA_BOOTSTRAP_SERVERS"
    ) as e:
        load_settings()
    assert "linger" not in str(e.value)
    assert "hunter2" not in str(e.value)


def test_secrets_are_never_shown() -> None:
    settings = Settings(
        kafka={"sasl.password": "hunter2", "ssl.key.password": "hunter2", "sasl.username": "me"}
    )
    assert "hunter2" not in repr(settings) + str(settings)
    assert "'sasl.username': 'me'" in repr(settings)
    assert settings.kafka["sasl.password"] == "hunter2"


def test_unknown_properties_are_refused_by_name() -> None:
    says = r"see HANDOFF_KAFKA__NO_SUCH_THING, or no\.such\.thing under \[kafka\] in handoff\.toml"
    with pytest.raises(SettingsError, match=says):
        clients.reader(Settings(kafka={"no.such.thing": "1"}))


def test_a_refused_value_is_one_sentence() -> None:
    with pytest.raises(SettingsError) as caught:
        clients.reader(Settings(kafka={"socket.timeout.ms": "1"}))
    assert "see HANDOFF_KAFKA__SOCKET_TIMEOUT_MS, or socket.timeout.ms" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_ids_are_stable_with_an_ordinal_and_unique_without() -> None:
    fixed = Settings(ordinal=3)
    assert clients.instance_id(fixed, "integrity") == "handoff-integrity-3"
    free = Settings()
    assert clients.instance_id(free, "integrity") != clients.instance_id(free, "integrity")


# --- errors -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (KafkaError(KafkaError._TIMED_OUT, retriable=True), ErrorKind.RETRIABLE),
        (KafkaError(KafkaError.NOT_COORDINATOR, retriable=True), ErrorKind.RETRIABLE),
        (KafkaError(KafkaError.UNKNOWN_MEMBER_ID, txn_requires_abort=True), ErrorKind.ABORTABLE),
        (KafkaError(KafkaError.MSG_SIZE_TOO_LARGE, txn_requires_abort=True), ErrorKind.ABORTABLE),
        (KafkaError(KafkaError._TIMED_OUT), ErrorKind.UNKNOWN),
        (KafkaError(KafkaError._TRANSPORT), ErrorKind.UNKNOWN),
        (KafkaError(KafkaError._FENCED, fatal=True), ErrorKind.FATAL),
        # A fenced member may also need an abort: it is over all the same.
        (KafkaError(KafkaError.FENCED_INSTANCE_ID, txn_requires_abort=True), ErrorKind.FATAL),
        (KafkaError(KafkaError._STATE), ErrorKind.FATAL),
    ],
)
def test_each_error_has_one_class(error: KafkaError, kind: ErrorKind) -> None:
    assert kind_of(error) is kind


@pytest.mark.parametrize(
    ("code", "cause"),
    [
        (KafkaError.MSG_SIZE_TOO_LARGE, AbortCause.RECORD),
        (KafkaError.INVALID_RECORD, AbortCause.RECORD),
        (KafkaError._MSG_TIMED_OUT, AbortCause.TIME),
        (KafkaError.TOPIC_AUTHORIZATION_FAILED, AbortCause.BLOCKED),
        (KafkaError.POLICY_VIOLATION, AbortCause.BLOCKED),
        (KafkaError.REBALANCE_IN_PROGRESS, AbortCause.TRANSIENT),
        (KafkaError.KAFKA_STORAGE_ERROR, AbortCause.TRANSIENT),
        # What nobody has met yet is never held against a record.
        (KafkaError.UNSUPPORTED_VERSION, AbortCause.TRANSIENT),
        (KafkaError.UNKNOWN, AbortCause.TRANSIENT),
    ],
)
def test_only_what_lies_in_the_records_counts_against_them(code: int, cause: AbortCause) -> None:
    assert cause_of(KafkaError(code)) is cause


def test_a_fenced_consumer_tells_it_in_words_only() -> None:
    assert is_fenced(KafkaError(KafkaError._FATAL, "Static consumer fenced by other consumer"))
    assert not is_fenced(KafkaError(KafkaError._FATAL, "something else"))
    assert not is_fenced(KafkaError(KafkaError._TRANSPORT, "the host is fenced off"))


# --- where to start -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("committed", "has", "gap", "start"),
    [
        (-1001, Bounds(0, 0), "stop", Start(0)),
        (-1001, Bounds(7, 90), "stop", Start(7)),
        (50, Bounds(7, 90), "stop", Start(50)),
        (90, Bounds(90, 90), "stop", Start(90)),
        (3, Bounds(7, 90), "skip", Start(7, 4)),
        (99, Bounds(0, 10), "skip", Start(0)),  # the topic was made anew
    ],
)
def test_starts(committed: int, has: Bounds, gap: str, start: Start) -> None:
    assert starts({IN0: committed}, {IN0: has}, gap) == {IN0: start}  # type: ignore[arg-type]


@pytest.mark.parametrize("committed", [3, 99])
def test_missing_records_stop_it_unless_told_otherwise(committed: int) -> None:
    with pytest.raises(
        Misconfigured, match=r"in0-0 has the records from 7 to 90.*HANDOFF_GAP=skip"
    ):
        starts({IN0: committed}, {IN0: Bounds(7, 90)}, "stop")


def test_an_input_that_is_new_starts_at_its_first_record() -> None:
    found = starts({IN0: 5, IN1: -1001}, {IN0: Bounds(0, 9), IN1: Bounds(2, 4)}, "stop")
    assert found == {IN0: Start(5), IN1: Start(2)}


def test_state_without_offsets_needs_a_person(tmp_path: Path) -> None:
    for store in (MemoryStore(), DiskStore(tmp_path / "state")):
        check_anchored("log", "group", store)
        store["k"] = b"v"
        store.save(1)
        with pytest.raises(Misconfigured, match="log holds state, but its consumer group group"):
            check_anchored("log", "group", store)
        store.close()


# --- stores -------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["memory", "disk"])
def test_a_store_is_a_mapping_that_counts_itself(tmp_path: Path, kind: str) -> None:
    store: Store = MemoryStore() if kind == "memory" else DiskStore(tmp_path / "s")
    store["a"] = b"12345"
    store["b"] = b"1"
    store["a"] = b"123"
    store.save(10)
    assert (store.get("a"), store.get("b"), store.get("c")) == (b"123", b"1", None)
    assert sorted(store) == ["a", "b"]
    assert store.pop("b", None) in (b"1", None)
    store.pop("never there", None)
    store.save(11)
    assert (sorted(store), store.checkpoint) == (["a"], 11)
    if kind == "memory":
        assert store.measure() == (1, 4)
    store.wipe()
    assert (sorted(store), store.checkpoint) == ([], None)
    store.close()


def test_a_disk_store_keeps_what_was_saved_and_nothing_else(tmp_path: Path) -> None:
    store = DiskStore(tmp_path / "s")
    store["a"] = b"1"
    store.save(5)
    store["a"] = b"2"  # never saved: its transaction was not committed
    store.close()
    again = DiskStore(tmp_path / "s")
    assert (again.get("a"), again.checkpoint) == (b"1", 5)
    again.close()


def test_state_on_disk_without_its_package_names_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "rocksdict", None)
    with pytest.raises(SettingsError, match="pip install rocksdict"):
        DiskStore(tmp_path / "s")


# --- what people see ----------------------------------------------------------------------------


def test_librdkafkas_lines_are_limited_by_kind() -> None:
    limit = clients.RateLimit()

    def passes(text: str) -> bool:
        return bool(limit.filter(logging.LogRecord("x", 30, "", 0, text, None, None)))

    assert passes("FAIL [thrd:broker] connection refused")
    assert not passes("FAIL [thrd:broker] connection refused again")
    assert passes("ERROR something else")
    assert not passes("CONFWARN a consumer property for a producer")


def test_metrics_tell_the_accounting_of_each_lane() -> None:
    status = LaneStatus("integrity")
    status.counts["applied", "handoff.tool-outputs", ""] = 3
    status.counts["handoffs_begun", "handoff.tool-outputs", "sent"] = 2
    status.outputs["handoff.packages"] = 2
    status.lag["handoff.tool-outputs", 1] = 7
    status.observe_batch(0.02)
    text = metrics.page(metrics.registry([status]))
    for line in (
        'handoff_input_records_total{outcome="applied",processor="integrity",'
        'topic="handoff.tool-outputs"} 3.0',
        'handoff_events_total{event="handoffs_begun",label="sent",processor="integrity",'
        'topic="handoff.tool-outputs"} 2.0',
        'handoff_output_records_total{processor="integrity",topic="handoff.packages"} 2.0',
        'handoff_lag_records{partition="1",processor="integrity",topic="handoff.tool-outputs"} 7.0',
        'handoff_batch_seconds_bucket{le="0.025",processor="integrity"} 1.0',
        'handoff_ready{processor="integrity"} 0.0',
    ):
        assert line in text.splitlines()


def test_instances_with_ordinals_do_not_share_state_on_disk(tmp_path: Path) -> None:
    pytest.importorskip("rocksdict")
    stores = [
        open_store(Settings(state="disk", state_dir=tmp_path, ordinal=ordinal), "integrity", 0)
        for ordinal in (0, 1)
    ]
    for store in stores:
        store.close()


_MANY_INSTANCES = """
import sys, time
from processors.runtime import instances
from processors.runtime.ending import Ending
from processors.runtime.settings import Settings
instances.run = lambda settings, processors, ending: 0 if ending.wait(60) else 1
with Ending() as ending:
    print("go", flush=True)
    sys.exit(instances.run_instances(Settings(), [], ending, 24))
"""


@pytest.mark.parametrize("seconds", [0.01, 0.02, 0.04])
def test_a_signal_while_instances_are_still_started_ends_them_all(seconds: float) -> None:
    command = [sys.executable, "-c", _MANY_INSTANCES]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=_ROOT) as parent:
        try:
            assert parent.stdout is not None
            assert parent.stdout.readline() == b"go\n"
            time.sleep(seconds)  # in the middle of 24 forks
            parent.terminate()
            assert parent.wait(15) == 0
        finally:
            parent.kill()


# --- tables -------------------------------------------------------------------------------------


class _Silent(AdminClient):
    """A client whose broker does not answer in time."""

    def list_topics(self, *_: Any, **__: Any) -> Any:
        raise KafkaException(KafkaError(KafkaError._TIMED_OUT))


def test_no_queue_counts_as_missing_because_nobody_answered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The receivers whose queues are not known to be there would have their handoffs held."""
    quiet: dict[str, str | int | float | bool] = {
        "bootstrap.servers": "127.0.0.1:1",
        "log_level": 0,
    }
    monkeypatch.setattr(clients, "admin", lambda _: _Silent(quiet))
    tables = GlobalTables(Settings(kafka_bootstrap_servers="127.0.0.1:1"), INTEGRITY)
    with pytest.raises(Fatal, match="the topics cannot be listed: "):
        tables.start(lambda: False)
    assert tables.current is None


def test_each_time_of_the_settings_has_bounds() -> None:
    """So that what is added to a time never leaves the calendar."""
    for name, field in Settings.model_fields.items():
        if name.endswith("_ms"):
            bounds = {type(each).__name__ for each in field.metadata}
            assert bounds >= {"Ge", "Le"}, name
