"""librdkafka properties that users pass through: refused or checked, each in one sentence."""

import pytest
from confluent_kafka import KafkaException, Producer
from hypothesis import given, settings
from hypothesis import strategies as st

from processors.runtime import clients, properties
from processors.runtime.base_lane import AGENT_SECONDS
from processors.runtime.properties import (
    LONGEST_TURN_MS,
    REFUSED,
    SESSION_TIMEOUT_MS,
    place,
    problems,
)
from processors.runtime.settings import Settings, SettingsError, load_settings
from processors.runtime.transactions import LIMIT_SECONDS


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_ours_is_refused_with_its_reason(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"HANDOFF_KAFKA__{name.upper().replace('.', '_')}", "1")
    with pytest.raises(SettingsError) as refused:
        load_settings()
    sentence = str(refused.value)
    assert f"{name} cannot be set: {REFUSED[name]}" in sentence
    assert "\n" not in sentence


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused_is_a_property_of_the_clients(name: str) -> None:
    """A name with a slip of the pen would refuse nothing."""
    value: object = True if name == "delivery.report.only.error" else "\0"
    with pytest.raises(KafkaException) as failed:
        Producer({name: value, "no.such.property": "x"})
    assert f'No such configuration property: "{name}"' not in str(failed.value)


@pytest.mark.parametrize(
    ("given_", "sentence"),
    [
        (
            {"max.poll.interval.ms": "60000"},
            "max.poll.interval.ms is 60,000, and a turn of the processor may take 120,000; "
            "set at least that",
        ),
        (
            {"session.timeout.ms": "400000"},
            "max.poll.interval.ms (300,000) is less than session.timeout.ms (400,000); set the "
            "first at least as high",
        ),
        (
            {"session.timeout.ms": "200000", "max.poll.interval.ms": "150000"},
            "max.poll.interval.ms (150,000) is less than session.timeout.ms (200,000); set the "
            "first at least as high",
        ),
        (
            {"heartbeat.interval.ms": "5001"},
            "session.timeout.ms is 10,000, and heartbeat.interval.ms is 5,001; set twice the "
            "interval at least, or one late heartbeat costs the partitions",
        ),
        (
            {"queue.buffering.max.kbytes": "4096"},
            "queue.buffering.max.kbytes is 4,096, and the largest record needs 8,192; "
            "set at least that",
        ),
        (
            {"session.timeout.ms": "10s"},
            "session.timeout.ms must be a whole number, such as 10000",
        ),
        (
            {"max.poll.interval.ms": "-1"},
            "max.poll.interval.ms must be a whole number, such as 300000",
        ),
    ],
)
def test_times_that_do_not_fit_are_told_in_one_sentence(
    given_: dict[str, str], sentence: str
) -> None:
    assert problems(given_) == [sentence]
    with pytest.raises(ValueError, match=r"^1 validation error") as refused:
        Settings(kafka=given_)
    assert sentence in str(refused.value)


def test_all_that_is_wrong_is_told() -> None:
    given_ = {"acks": "1", "heartbeat.interval.ms": "9000", "max.poll.interval.ms": "9"}
    assert [each.split()[0] for each in problems(given_)] == [
        "acks",
        "max.poll.interval.ms",
        "session.timeout.ms",
    ]
    told = problems({"retries": "1", "session.timeout.ms": "1" * 5_000})
    assert [each.split()[0] for each in told] == ["retries", "session.timeout.ms"]


def test_what_fits_is_taken() -> None:
    assert not problems({})
    assert not problems({"security.protocol": "SSL", "session.timeout.ms": "45000"})
    assert not problems({"max.poll.interval.ms": "120000", "session.timeout.ms": "120000"})


@settings(max_examples=30, deadline=None)
@given(
    st.sampled_from(["6000", "9000", "10000", "45000", "300000", "1800000"]),
    st.sampled_from(["1000", "3000", "15000"]),
    st.sampled_from(["120000", "300000", "1800000"]),
)
def test_what_is_taken_the_clients_take_too(session: str, heartbeat: str, poll: str) -> None:
    chosen = {
        "session.timeout.ms": session,
        "heartbeat.interval.ms": heartbeat,
        "max.poll.interval.ms": poll,
    }
    if not problems(chosen):
        made = Settings(kafka_bootstrap_servers="127.0.0.1:1", kafka=chosen)
        clients.group_consumer(made, "integrity", "i").close()


def test_a_turn_may_take_as_long_as_its_waits_together() -> None:
    waits = AGENT_SECONDS + 3 * LIMIT_SECONDS  # the batch; the offsets, the commit, the abort
    assert waits * 1000 <= LONGEST_TURN_MS
    assert properties.HEARTBEAT_MS * 2 <= SESSION_TIMEOUT_MS


def test_of_two_that_must_be_set_the_one_that_lacks_is_named() -> None:
    said = "sasl.username and sasl.password must be set"
    found = place(said, ["security.protocol", "sasl.username"])
    assert found.startswith("HANDOFF_KAFKA__SASL_PASSWORD, or sasl.password")
    assert place(said, []).startswith("HANDOFF_KAFKA__SASL_USERNAME")
