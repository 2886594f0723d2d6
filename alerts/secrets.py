"""Secrets of the alerts' configuration: named there, kept elsewhere.

`{env: NAME}` is the value of an environment variable, `{file: PATH}` the content of a file without
the line break at its end, as Kubernetes and Docker mount secrets. A literal is refused: routes
files are reviewed and shared. No message here holds a value; `SecretStr` hides it from repr and
logs.
"""

import os
from collections.abc import Mapping
from pathlib import Path

from pydantic import SecretStr

_LONGEST = 65_536  # bytes of a file; a longer one is no secret, but the wrong file


class SecretError(Exception):
    """A secret cannot be had; the text says which, why, and what to do."""


def resolve(
    reference: object, where: str, environment: Mapping[str, str] | None = None
) -> SecretStr:
    """The value that `reference` names; `where` says in messages what it is for, as
    `sinks.pager.routing_key`. Raises `SecretError`."""
    names = os.environ if environment is None else environment
    match reference:
        case {"env": str(name), **rest} if not rest:
            return _from_environment(name, where, names)
        case {"file": str(path), **rest} if not rest:
            return _from_file(Path(path), where)
    raise SecretError(
        f"{where} is a secret, and is not written here: "
        "write {env: NAME} or {file: PATH}, and put the value there"
    )


def _from_environment(name: str, where: str, names: Mapping[str, str]) -> SecretStr:
    value = names.get(name, "")
    if not value.strip():
        state = "is empty" if name in names else "is not set"
        raise SecretError(f"{where}: the environment variable {name} {state}; set it")
    return SecretStr(value.strip())


def _from_file(path: Path, where: str) -> SecretStr:
    try:
        with path.open("rb") as file:
            data = file.read(_LONGEST + 1)
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or "it is no path"
        raise SecretError(f"{where}: the file {path} cannot be read ({why})") from None
    if len(data) > _LONGEST:
        raise SecretError(f"{where}: the file {path} is too long for a secret; name another one")
    try:
        value = data.decode().strip()
    except UnicodeDecodeError:
        raise SecretError(f"{where}: the file {path} is not text in UTF-8") from None
    if not value:
        raise SecretError(f"{where}: the file {path} is empty; put the value there")
    return SecretStr(value)
