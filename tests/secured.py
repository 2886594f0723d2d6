"""An Apache Kafka that asks who you are and what you may: SCRAM-SHA-512 over TLS, and ACLs.

It has two listeners. `bootstrap_servers` is plain, and everything is allowed there: a test sets up
and looks on by it. `secured` wants TLS and a user, and allows what was granted to this user alone;
OAUTHBEARER works there too, with tokens that nobody signed. Java's own `keytool` makes the
certificate: where the broker runs, there it is.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from pathlib import Path
from typing import Any, Final

from confluent_kafka.admin import (
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialUpsertion,
)

from console.brokers import HOST, ApacheKafka, BrokerError, free_port
from tests.lanes import wait_for
from topics.admin import Admin
from topics.rights import Right

_STORE_PASSWORD: Final = "of-a-file-of-this-test"
_RESOURCES: Final = {
    "topic": ResourceType.TOPIC,
    "group": ResourceType.GROUP,
    "transactional id": ResourceType.TRANSACTIONAL_ID,
    "cluster": ResourceType.BROKER,
}
_CLUSTER: Final = "kafka-cluster"


class SecuredKafka(ApacheKafka):
    """One node with a plain and a secured listener. Use it as a context, as any broker.

    `authority` is the file of the certificate that clients are to trust.
    """

    def __init__(self, directory: str | os.PathLike[str]) -> None:
        super().__init__(directory)
        self.secured = f"{HOST}:{free_port()}"
        self.authority = self.directory / "authority.pem"
        self._store = self.directory / "broker.p12"
        self._admin: AdminClient | None = None

    def start(self) -> None:
        """As of `ApacheKafka`; the certificate is made at the first start."""
        self.directory.mkdir(parents=True, exist_ok=True)
        if not self.authority.exists():
            make_certificate(self._store, self.authority)
        super().start()

    def _properties(self) -> str:
        plain = f"PLAINTEXT://{self.bootstrap_servers}"
        secured = f"SECURED://{self.secured}"
        controller = f"CONTROLLER://{HOST}:{self._controller_port}"
        lines = {
            "listeners": f"{plain},{secured},{controller}",
            "advertised.listeners": f"{plain},{secured}",
            "listener.security.protocol.map": (
                "PLAINTEXT:PLAINTEXT,SECURED:SASL_SSL,CONTROLLER:PLAINTEXT"
            ),
            "inter.broker.listener.name": "PLAINTEXT",
            "sasl.enabled.mechanisms": "SCRAM-SHA-512,OAUTHBEARER",
            "listener.name.secured.scram-sha-512.sasl.jaas.config": (
                "org.apache.kafka.common.security.scram.ScramLoginModule required;"
            ),
            # Its server side is Kafka's validator of unsigned tokens, which is made for tests.
            "listener.name.secured.oauthbearer.sasl.jaas.config": (
                "org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule required "
                'unsecuredLoginStringClaim_sub="broker";'
            ),
            "ssl.keystore.type": "PKCS12",
            "ssl.keystore.location": str(self._store),
            "ssl.keystore.password": _STORE_PASSWORD,
            "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            # Whoever comes by the plain listener.
            "super.users": "User:ANONYMOUS",
            # A failed sign-in is answered at once, so that tests need not wait.
            "connection.failed.authentication.delay.ms": "0",
        }
        return super()._properties() + "".join(f"{key}={value}\n" for key, value in lines.items())

    # --- who there is, and what they may ---------------------------------------------------------

    @property
    def admin(self) -> AdminClient:
        """A client that may do everything."""
        if self._admin is None:
            self._admin = Admin({"bootstrap.servers": self.bootstrap_servers, "log_level": 0})
        return self._admin

    def add_user(self, name: str, password: str) -> None:
        """Make a user, who may nothing yet."""
        made = UserScramCredentialUpsertion(
            name, ScramCredentialInfo(ScramMechanism.SCRAM_SHA_512, 4096), password.encode()
        )
        for future in self.admin.alter_user_scram_credentials([made]).values():
            future.result(20)

        def is_known() -> bool:
            told: Any = self.admin.describe_user_scram_credentials([name])
            return told[name].exception(20) is None

        wait_for(is_known, 20, f"the broker knows the user {name}")

    def grant(self, user: str, *rights: Right, prefixed: bool = False) -> None:
        """Allow these; `prefixed` allows each for all resources whose names begin like that."""
        made = [_binding(user, right, prefixed) for right in rights]
        if not made:
            return
        for future in self.admin.create_acls(made).values():
            future.result(20)
        self._wait(user, lambda there: there >= set(made))

    def revoke(self, user: str, *rights: Right) -> None:
        """Take back what was granted under these very names, prefixed or not; without rights, all
        that the user has."""
        gone = [
            _filter(user, right, pattern)
            for right in rights or (None,)
            for pattern in (ResourcePatternType.LITERAL, ResourcePatternType.PREFIXED)
        ]
        taken = set()
        for future in self.admin.delete_acls(gone).values():
            taken.update(future.result(20))
        self._wait(user, lambda there: not there & taken)

    def _wait(self, user: str, settled: Callable[[set[AclBinding]], bool]) -> None:
        """A change is done by the controller; the broker hears of it a little later."""

        def is_so() -> bool:
            future: Future[list[AclBinding]] = self.admin.describe_acls(
                _filter(user, None, ResourcePatternType.ANY)
            )
            return settled(set(future.result(20)))

        wait_for(is_so, 20, f"the broker's rights of {user}")

    # --- how to sign in --------------------------------------------------------------------------

    def by_password(self, user: str, password: str) -> dict[str, Any]:
        """The librdkafka properties of a user, with the address."""
        return self._over_tls() | {
            "sasl.mechanisms": "SCRAM-SHA-512",
            "sasl.username": user,
            "sasl.password": password,
        }

    def by_token(self, user: str) -> dict[str, Any]:
        """The same with an unsigned token (RFC 7515, appendix A.5) that the client makes itself."""
        return self._over_tls() | {
            "sasl.mechanisms": "OAUTHBEARER",
            "enable.sasl.oauthbearer.unsecure.jwt": "true",
            "sasl.oauthbearer.config": f"principal={user}",
        }

    def _over_tls(self) -> dict[str, Any]:
        return {
            "bootstrap.servers": self.secured,
            "security.protocol": "SASL_SSL",
            "ssl.ca.location": str(self.authority),
        }


def environment(properties: Mapping[str, str]) -> dict[str, str]:
    """librdkafka properties, the address among them, as environment variables of ours."""
    names = {"bootstrap.servers": "HANDOFF_KAFKA_BOOTSTRAP_SERVERS"}
    return {
        names.get(name, "HANDOFF_KAFKA__" + name.upper().replace(".", "_")): value
        for name, value in properties.items()
    }


def make_certificate(store: Path, certificate: Path) -> None:
    """A key with its certificate for this machine, which is its own authority, in the PKCS #12 file
    `store`; the certificate alone, as PEM, in `certificate`. Raises `BrokerError`."""
    common = ["-alias", "broker", "-keystore", str(store), "-storepass", _STORE_PASSWORD]
    _keytool("-genkeypair", "-keyalg", "EC", "-groupname", "secp256r1", "-validity", "2",
             "-dname", "CN=a broker of the tests", "-ext", f"san=ip:{HOST},dns:localhost",
             "-storetype", "PKCS12", *common)  # fmt: skip
    _keytool("-exportcert", "-rfc", "-file", str(certificate), *common)


def _keytool(*arguments: str) -> None:
    try:
        done = subprocess.run(
            ["keytool", *arguments], capture_output=True, text=True, check=False, timeout=60
        )
    except FileNotFoundError:
        raise BrokerError("A certificate needs Java's `keytool`; there is none.") from None
    if done.returncode:
        raise BrokerError(f"keytool could not make a certificate: {done.stdout.strip()}")


def _binding(user: str, right: Right, prefixed: bool) -> AclBinding:
    return AclBinding(
        _RESOURCES[right.kind],
        right.name or _CLUSTER,
        ResourcePatternType.PREFIXED if prefixed else ResourcePatternType.LITERAL,
        f"User:{user}",
        "*",
        AclOperation[right.operation],
        AclPermissionType.ALLOW,
    )


def _filter(user: str, right: Right | None, pattern: ResourcePatternType) -> AclBindingFilter:
    """What a user has of a right, or all of it."""
    anything: Any = None  # which is not among the declared types
    return AclBindingFilter(
        ResourceType.ANY if right is None else _RESOURCES[right.kind],
        anything if right is None else right.name or _CLUSTER,
        pattern,
        f"User:{user}",
        anything,
        AclOperation.ANY if right is None else AclOperation[right.operation],
        AclPermissionType.ANY,
    )
