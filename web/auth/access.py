"""The access file: how people sign in to the console, and what they may do there.

YAML, read once at the start. Without one there is no sign-in, and the console listens on this
machine only. Secrets never stand in it: they are settings.
"""

import ipaddress
from collections.abc import Collection
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, ValidationError, field_validator, model_validator
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from processors.runtime.settings import SettingsError
from schemas.documents import DocumentModel
from web.auth.people import ANY, Grant, Person, Role

Names = Annotated[tuple[str, ...], Field(min_length=1)]
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class Oidc(DocumentModel):
    """Sign-in with OpenID Connect; the provider's addresses come from its discovery document."""

    issuer: str
    client_id: str
    subject: str = "email"
    """The claim that says who it is."""
    groups: str = "groups"
    """The claim with the groups, where there is one."""
    scope: str = "openid email profile"
    session_hours: Annotated[float, Field(gt=0, le=168)] = 8.0
    """So long after it a sign-in ends."""

    @field_validator("issuer")
    @classmethod
    def _encrypted(cls, given: str) -> str:
        local = given.startswith(("http://127.0.0.1:", "http://localhost:"))
        if not given.startswith("https://") and not local:
            raise ValueError("it must be an https:// address (http:// only on this machine)")
        return given.rstrip("/")


class Proxy(DocumentModel):
    """Sign-in by a reverse proxy in front, which says who it is in a header."""

    addresses: Names
    """The addresses or networks of the proxy; a header from anywhere else is refused."""
    subject: str = "X-Forwarded-User"
    groups: str = "X-Forwarded-Groups"
    """Its groups, with commas between them."""

    @field_validator("addresses")
    @classmethod
    def _networks(cls, given: tuple[str, ...]) -> tuple[str, ...]:
        for each in given:
            ipaddress.ip_network(each)  # a ValueError says what is wrong
        return given

    def networks(self) -> tuple[Network, ...]:
        """The addresses as networks."""
        return tuple(ipaddress.ip_network(each) for each in self.addresses)


class RoleGrant(DocumentModel):
    """Who gets a role, and where."""

    who: Names
    """Subjects, and groups as `group:NAME`; `*` is everybody who has signed in."""
    role: Role
    workflows: Names = ANY
    teams: Names = ANY


class AccessFile(DocumentModel):
    """All of it: one way to sign in, and the roles. Who has no role sees nothing."""

    kind: Literal["ConsoleAccess"]
    oidc: Oidc | None = None
    proxy: Proxy | None = None
    roles: Annotated[tuple[RoleGrant, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _one_way(self) -> "AccessFile":
        if (self.oidc is None) == (self.proxy is None):
            raise ValueError("it needs one way to sign in: either 'oidc' or 'proxy'")
        return self

    def person(self, subject: str, groups: Collection[str]) -> Person:
        """Somebody who has signed in, with what the file grants them."""
        names = {subject, "*", *(f"group:{group}" for group in groups)}
        return Person(
            subject,
            tuple(
                Grant(each.role, each.workflows, each.teams)
                for each in self.roles
                if names.intersection(each.who)
            ),
            signed_in=True,
        )

    def known_groups(self, groups: Collection[str]) -> list[str]:
        """Those groups that a role names: the others need not travel in a cookie."""
        named = {who for each in self.roles for who in each.who}
        return sorted(group for group in groups if f"group:{group}" in named)


def load_access(path: Path) -> AccessFile:
    """Read an access file. Raises `SettingsError` with a sentence for a person."""
    try:
        data = YAML(typ="safe").load(path.read_text(encoding="utf-8"))
        return AccessFile.model_validate(_tupled(data))
    except OSError as error:
        raise SettingsError(f"the access file {path} cannot be read: {error.strerror}") from None
    except (YAMLError, UnicodeDecodeError) as error:
        first = str(error).splitlines()[0]
        raise SettingsError(f"the access file {path} is no YAML: {first}") from None
    except ValidationError as error:
        found = error.errors(include_url=False, include_input=False)[0]
        at = ".".join(map(str, found["loc"]))
        what = found["msg"].removeprefix("Value error, ")
        where = f", at {at}" if at else ""
        raise SettingsError(f"the access file {path} is wrong{where}: {what}") from None


def _tupled(value: object) -> object:
    """Lists of YAML as tuples, which the strict documents have."""
    if isinstance(value, dict):
        return {name: _tupled(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return tuple(map(_tupled, value))
    return value
