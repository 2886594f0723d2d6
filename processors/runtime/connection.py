"""Connects to a broker; when that fails, says why and what to check.

With a wrong password a call times out, just as with a broker that is down. The reason comes apart
from the call, and `ConnectionErrors` collects it. `explained` makes the sentence, and is pure.
"""

import re
import time
from collections.abc import Iterable

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient, ClusterMetadata

from processors.runtime import clients
from processors.runtime.settings import Settings
from processors.runtime.transactions import Misconfigured

CALL_SECONDS = 6.0  # with the start of Python it stays within ten seconds
_STOPPED_SECONDS = 2.0  # when a call ends so much later than it may, the process was stopped
# librdkafka puts the broker's address before a text, and after it how long that has been so.
_ADDRESS, _SINCE = re.compile(r"^(\S+ )?\S+/(bootstrap|\d+): "), re.compile(r" \(after .*\)$")


class Unreachable(Misconfigured):
    """No broker answers, or none accepts the sign-in."""


def reach(settings: Settings) -> tuple[AdminClient, ClusterMetadata]:
    """A client whose broker has answered, and the metadata of brokers and topics.

    Raises `Unreachable` within ten seconds, and `SettingsError`. When the call took longer than its
    time-out, this process was stopped meanwhile (SIGSTOP, a machine that sleeps): it asks again.
    """
    errors = clients.ConnectionErrors()
    admin = clients.admin(settings, errors)
    while True:
        began = time.monotonic()
        try:
            return admin, admin.list_topics(timeout=CALL_SECONDS)
        except KafkaException as error:
            if time.monotonic() - began > CALL_SECONDS + _STOPPED_SECONDS:
                continue
            admin.poll(0)  # delivers what `errors` collects
            raise Unreachable(
                explained(settings, [*errors.found, (None, error.args[0].str())])
            ) from None


def explained(settings: Settings, found: Iterable[tuple[int | None, str]]) -> str:
    """Why no broker could be reached, in a sentence with what to check. `found` is code and text of
    each error and log line of librdkafka, the least informative last."""
    said = [(code, _plain(text)) for code, text in found if code != KafkaError._ALL_BROKERS_DOWN]

    def first(*signs: int | str) -> str | None:
        """The first text with one of these codes, or with one of these words in it."""
        for code, text in said:
            if code in signs or any(isinstance(sign, str) and sign in text for sign in signs):
                return text
        return None

    where = settings.kafka_bootstrap_servers
    kafka = settings.kafka
    by_token = "OAUTHBEARER" in (kafka.get("sasl.mechanisms"), kafka.get("sasl.mechanism"))
    if why := first(KafkaError._AUTHENTICATION):
        user = "the sasl.oauthbearer properties" if by_token else "sasl.username and sasl.password"
        return (
            f"the broker at {where} does not let us in: {why}; "
            f"check security.protocol, sasl.mechanisms, {user}"
        )
    if why := first(KafkaError._SSL, "SSL handshake failed", "SSL routines"):
        return (
            f"no TLS connection to the broker at {where}: {why}; check security.protocol, "
            "ssl.ca.location, and ssl.certificate.location where the broker wants one"
        )
    if why := first(KafkaError._RESOLVE, "Connect to "):
        return _silent(where, why)
    if first("Invalid response size"):  # librdkafka's advice, to allow larger ones, helps nobody
        return (
            f"what answers at {where} does not speak Kafka's protocol; check the address and port, "
            "and security.protocol where it wants TLS"
        )
    if why := first("Disconnected"):
        protocol = kafka.get("security.protocol", "plaintext")
        return (
            f"the broker at {where} ends each connection at once ({why}): security.protocol is "
            f"{protocol}, and this port may want another one; check it, and the address"
        )
    if by_token and len(said) == 1:
        return (
            f"nobody gives a token to sign in with at {where}: set sasl.oauthbearer.method to oidc "
            "and the properties that go with it"
        )
    return _silent(where, said[0][1])


def _silent(where: str, why: str) -> str:
    return (
        f"no Kafka broker answers at {where} ({why}); start one with `handoff up`, "
        "or set HANDOFF_KAFKA_BOOTSTRAP_SERVERS"
    )


def _plain(text: str) -> str:
    bare = _ADDRESS.sub("", _SINCE.sub("", text))
    return "".join(each if each.isprintable() else " " for each in bare)
