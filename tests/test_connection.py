"""Why no broker could be reached: the sentence, from what librdkafka 2.16 says beside the call."""

from pathlib import Path
from typing import Any, cast

import pytest
from click.testing import CliRunner
from confluent_kafka import KafkaError, KafkaException

from console.brokers import free_port
from console.main import main
from processors.runtime import clients, connection
from processors.runtime.connection import Unreachable, explained, reach
from processors.runtime.settings import Settings, SettingsError

CANARY = "Canary-of-a-p4ssword"
SASL = {
    "HANDOFF_KAFKA__SECURITY_PROTOCOL": "SASL_SSL",
    "HANDOFF_KAFKA__SASL_MECHANISMS": "SCRAM-SHA-512",
}
SILENT = (None, "Failed to get metadata: Local: Broker transport failure")
DOWN = (KafkaError._ALL_BROKERS_DOWN, "1/1 brokers are down")
AT = "sasl_ssl://127.0.0.1:9092/bootstrap: "
LINE = "[thrd:127.0.0.1:9092/bootstrap]: 127.0.0.1:9092/bootstrap: "
SCRAM = {
    "security.protocol": "SASL_SSL",
    "sasl.mechanisms": "SCRAM-SHA-512",
    "sasl.username": "handoff",
}
OAUTH = {"security.protocol": "SASL_SSL", "sasl.mechanisms": "OAUTHBEARER"}


@pytest.mark.parametrize(
    ("kafka", "heard", "expected"),
    [
        (
            SCRAM,
            [
                (
                    KafkaError._AUTHENTICATION,
                    AT + "SASL authentication error: Authentication failed during authentication "
                    "due to invalid credentials with SASL mechanism SCRAM-SHA-512 (after 11ms in "
                    "state AUTH_REQ)",
                ),
                DOWN,
            ],
            "the broker at 127.0.0.1:9092 does not let us in: SASL authentication error: "
            "Authentication failed during authentication due to invalid credentials with SASL "
            "mechanism SCRAM-SHA-512; check security.protocol, sasl.mechanisms, sasl.username and "
            "sasl.password",
        ),
        (
            OAUTH,
            [
                (
                    KafkaError._AUTHENTICATION,
                    "Failed to acquire SASL OAUTHBEARER token: \x1b[31mCould not connect",
                )
            ],
            "the broker at 127.0.0.1:9092 does not let us in: Failed to acquire SASL OAUTHBEARER "
            "token:  [31mCould not connect; check security.protocol, sasl.mechanisms, the "
            "sasl.oauthbearer properties",
        ),
        (
            OAUTH,
            [],
            "nobody gives a token to sign in with at 127.0.0.1:9092: set sasl.oauthbearer.method "
            "to oidc and the properties that go with it",
        ),
        (
            SCRAM,
            [
                DOWN,
                (
                    KafkaError._SSL,
                    AT + "SSL handshake failed: error:0A000086:SSL routines::certificate verify "
                    "failed: broker certificate could not be verified (after 4ms in state "
                    "SSL_HANDSHAKE)",
                ),
            ],
            "no TLS connection to the broker at 127.0.0.1:9092: SSL handshake failed: "
            "error:0A000086:SSL routines::certificate verify failed: broker certificate could not "
            "be verified; check security.protocol, ssl.ca.location, and ssl.certificate.location "
            "where the broker wants one",
        ),
        (
            SCRAM,
            [
                (
                    KafkaError._TRANSPORT,
                    AT + "SSL handshake failed: Disconnected: SSL connection closed by peer: "
                    "connecting to a PLAINTEXT broker listener? (after 0ms in state SSL_HANDSHAKE)",
                )
            ],
            "no TLS connection to the broker at 127.0.0.1:9092: SSL handshake failed: "
            "Disconnected: SSL connection closed by peer: connecting to a PLAINTEXT broker "
            "listener?; check security.protocol, ssl.ca.location, and ssl.certificate.location "
            "where the broker wants one",
        ),
        (
            SCRAM,
            [
                (
                    None,
                    LINE + "Receive failed: error:0A000412:SSL routines::ssl/tls alert bad "
                    "certificate: SSL alert number 42 (after 9ms in state APIVERSION_QUERY)",
                ),
                DOWN,
            ],
            "no TLS connection to the broker at 127.0.0.1:9092: Receive failed: "
            "error:0A000412:SSL routines::ssl/tls alert bad certificate: SSL alert number 42; "
            "check security.protocol, ssl.ca.location, and ssl.certificate.location where the "
            "broker wants one",
        ),
        (
            {},
            [
                DOWN,
                (
                    None,
                    LINE + "Receive failed: Invalid response size 1213486160 (0..100000000): "
                    "increase receive.message.max.bytes (after 0ms in state APIVERSION_QUERY)",
                ),
            ],
            "what answers at 127.0.0.1:9092 does not speak Kafka's protocol; check the address and "
            "port, and security.protocol where it wants TLS",
        ),
        (
            {},
            [
                DOWN,
                (
                    None,
                    LINE + "Disconnected: connection closed by peer: receive 0 after POLLIN "
                    "(after 2ms in state APIVERSION_QUERY)",
                ),
            ],
            "the broker at 127.0.0.1:9092 ends each connection at once (Disconnected: connection "
            "closed by peer: receive 0 after POLLIN): security.protocol is plaintext, and this "
            "port may want another one; check it, and the address",
        ),
        (
            {},
            [
                (
                    None,
                    LINE + "Disconnected: connection closed by peer: receive 0 after POLLIN",
                ),
                (
                    KafkaError._TRANSPORT,
                    "127.0.0.1:9092/1: Connect to ipv4#127.0.0.1:9092 failed: Connection refused "
                    "(after 0ms in state CONNECT, 1 identical error(s) suppressed)",
                ),
                DOWN,
            ],
            "no Kafka broker answers at 127.0.0.1:9092 (Connect to ipv4#127.0.0.1:9092 failed: "
            "Connection refused); start one with `handoff up`, or set "
            "HANDOFF_KAFKA_BOOTSTRAP_SERVERS",
        ),
        (
            SCRAM,
            [DOWN],
            "no Kafka broker answers at 127.0.0.1:9092 (Failed to get metadata: Local: Broker "
            "transport failure); start one with `handoff up`, or set "
            "HANDOFF_KAFKA_BOOTSTRAP_SERVERS",
        ),
    ],
    ids=[
        "wrong password",
        "no token",
        "no way to a token",
        "wrong authority",
        "TLS to a plain port",
        "no certificate of the client's",
        "a port that speaks something else",
        "plain to a TLS port",
        "went away",
        "nothing said",
    ],
)
def test_the_sentence_says_what_was_heard(
    kafka: dict[str, str], heard: list[tuple[int | None, str]], expected: str
) -> None:
    assert explained(Settings(kafka=kafka), [*heard, SILENT]) == expected


class Broker:
    """Answers after so many calls, each of which seems to take `seconds`."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, seconds: float, silent: int) -> None:
        self.calls = 0
        self._now, self._seconds, self._silent = 0.0, seconds, silent
        monkeypatch.setattr("processors.runtime.connection.time.monotonic", lambda: self._now)
        monkeypatch.setattr(clients, "admin", lambda settings, errors: self)

    def list_topics(self, timeout: float) -> Any:
        self.calls += 1
        self._now += self._seconds
        if self.calls <= self._silent:
            raise KafkaException(KafkaError(KafkaError._TIMED_OUT))

    def poll(self, seconds: float) -> None:
        """Nothing was said."""


def test_a_broker_that_does_not_answer_is_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    broker = Broker(monkeypatch, connection.CALL_SECONDS, silent=9)
    with pytest.raises(Unreachable, match="no Kafka broker answers at"):
        reach(Settings())
    assert broker.calls == 1


def test_a_process_that_was_frozen_meanwhile_asks_again(monkeypatch: pytest.MonkeyPatch) -> None:
    broker = Broker(monkeypatch, 3 * connection.CALL_SECONDS, silent=1)
    assert reach(Settings())[0] is cast(Any, broker)
    assert broker.calls == 2, "the broker had no chance to answer the first time"


def test_what_the_client_says_reaches_the_sentence(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Against the locked client, where nobody listens."""
    monkeypatch.setattr(connection, "CALL_SECONDS", 0.5)
    servers = f"127.0.0.1:{free_port()}"
    with pytest.raises(Unreachable, match=f"^no Kafka broker answers at {servers} .*refused"):
        reach(Settings(kafka_bootstrap_servers=servers))
    assert capfd.readouterr().err == "", "librdkafka keeps quiet"


@pytest.mark.parametrize(
    "properties",
    [
        {"ssl.ca.location": f"/{CANARY}/x"},
        {"ssl.key.location": CANARY},
        {"ssl.keystore.location": CANARY + "\0"},
        {"ssl.ca.location": __file__},
        {**OAUTH, "sasl.oauthbearer.method": "oidc", "ssl.ca.location": __file__},
        # librdkafka 2.16 aborts the process over this one, if it gets to see it.
        {**OAUTH, "sasl.oauthbearer.method": "oidc", "ssl.ca.location": f"/{CANARY}"},
    ],
    ids=["ca", "key", "no path", "no certificate", "nor with OAUTHBEARER", "with OAUTHBEARER"],
)
def test_a_file_that_is_not_there_is_named_by_its_property(properties: dict[str, str]) -> None:
    name = next(name for name in properties if name.endswith("location"))
    with pytest.raises(SettingsError) as info:
        clients.admin(Settings(kafka={"security.protocol": "SSL", **properties}))
    told = str(info.value)
    assert told.startswith(f"the file that {name} names cannot be used (")
    assert CANARY not in told


@pytest.mark.parametrize(
    "name",
    [
        "security.protocol",
        "sasl.mechanisms",
        "ssl.providers",
        "client.dns.lookup",
        "compression.type",
        "plugin.library.paths",
        "sasl.jaas.config",
        "ssl.key.pem",
        "ssl.ca.pem",
        "sasl.passwort",
    ],
)
def test_a_secret_in_the_wrong_property_is_not_quoted(name: str) -> None:
    settings = Settings(kafka={"security.protocol": "SASL_SSL", name: CANARY})
    with pytest.raises(SettingsError, match="Kafka clients refuse the settings") as info:
        clients.admin(settings)
    assert CANARY not in str(info.value)


def test_what_is_part_of_a_name_stays_readable() -> None:
    told = clients.without_values(
        'Invalid value "ssl" for "security.protocol"; see ssl.ca.location',
        {"security.protocol": "ssl", "ssl.ca.location": "probe"},
    )
    assert told == 'Invalid value "ssl" for "security.protocol"; see ssl.ca.location'


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("HANDOFF_KAFKA__SASL_PASSWORT", CANARY),
        ("HANDOFF_KAFKA__SASL_MECHANISMS", CANARY),
        ("HANDOFF_KAFKA__SECURITY_PROTOCOL", CANARY),
        ("HANDOFF_KAFKA__SSL_KEY_PEM", CANARY),
        ("HANDOFF_KAFKA__SSL_CA_LOCATION", CANARY),
        ("HANDOFF_KAFKA__SASL_JAAS_CONFIG", f'x password="{CANARY}"'),
        ("HANDOFF_KAFKA", f'{{"sasl.password":"{CANARY}"'),
        ("HANDOFF_KAFKA", f'["{CANARY}"]'),
        ("HANDOFF_KAFKA", f'{{"group.id": "{CANARY}"}}'),
        ("HANDOFF_ORDINAL", CANARY),
        ("HANDOFF_STATE", CANARY),
        ("HANDOFF_LOG_LEVEL", CANARY),
        ("HANDOFF_PARTITIONS", CANARY),
    ],
)
def test_a_secret_in_the_wrong_setting_is_not_quoted(
    tmp_path: Path, variable: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = CliRunner(env={**SASL, variable: value}).invoke(main, ["doctor"])
    assert result.exit_code == 2
    assert CANARY not in result.output


@pytest.mark.parametrize(
    "text",
    [
        f"[kafka]\nsasl.password = {CANARY}\n",
        f'kafka = "sasl.password={CANARY}"\n',
        f'sasl_password = "{CANARY}"\n',
        f'ordinal = "{CANARY}"\n',
    ],
    ids=["no TOML", "no table", "no setting", "no number"],
)
def test_a_secret_in_a_wrong_file_is_not_quoted(
    tmp_path: Path, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "handoff.toml").write_text(text)
    result = CliRunner().invoke(main, ["doctor"])
    assert result.exit_code == 2
    assert CANARY not in result.output
