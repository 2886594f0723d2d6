"""Kafka's rights in plain words: which one is missing when Kafka refuses a request.

Kafka's error gives the kind of the resource, but neither its name nor the operation. So the caller
says which rights the request needs, and this picks those that fit the error. Pure.
"""

from collections.abc import Iterable
from typing import Final, Literal, NamedTuple, Protocol

Kind = Literal["topic", "group", "transactional id", "cluster"]

# Error codes of the protocol (Kafka's protocol guide, "Error Codes"), and the kind of resource.
_KINDS: Final[dict[int, Kind]] = {
    29: "topic",
    30: "group",
    31: "cluster",
    53: "transactional id",
}
_NAMED = 5  # names that a sentence lists; the others are counted


class Right(NamedTuple):
    """An operation on one resource; both as Kafka's documentation names them (Security, "Operations
    and Resources on Protocols"). The cluster has no name."""

    operation: str
    kind: Kind
    name: str = ""

    def __str__(self) -> str:
        return f"{self.operation} on the {self.kind} {self.name}".rstrip()


def rights_of_a_producer(topic: str) -> tuple[Right, ...]:
    """What an idempotent producer needs; the second one only on brokers before 2.8 (KIP-679)."""
    return Right("WRITE", "topic", topic), Right("IDEMPOTENT_WRITE", "cluster")


class Error(Protocol):
    """The part of a `KafkaError` that is used here."""

    def code(self) -> int: ...
    def name(self) -> str: ...
    def str(self) -> str: ...


def is_refusal(error: Error) -> bool:
    """Whether Kafka refused a request because a right is missing."""
    return error.code() in _KINDS


def reason(error: Error, *asked: Right) -> str:
    """An error in words. `asked` are the rights that the request needs: when one of them is
    missing, the words say which one, and what to do."""
    kind = _KINDS.get(error.code())
    if kind is None:
        # The text of some errors is only the name of the call.
        return f"{error.name()}: {error.str()}".rstrip(": ")
    fitting = [right for right in asked if right.kind == kind]
    if not fitting:
        return f"a right on a {kind} is missing, and Kafka does not say which: {error.str()}"
    return missing(fitting)


def missing(rights: Iterable[Right]) -> str:
    """The sentence that these rights (at least one) are missing, and what to do."""
    lacking = sorted(set(rights))
    if len(lacking) == 1:
        return f"the right {lacking[0]} is missing; grant it to the user of these settings"
    groups: dict[tuple[str, str], list[str]] = {}
    for right in lacking:
        groups.setdefault((right.operation, right.kind), []).append(right.name)
    told = "; ".join(
        str(Right(operation, kind, names[0]))  # type: ignore[arg-type]
        if len(names) == 1
        else f"{operation} on the {kind}s {_listed(names)}"
        for (operation, kind), names in groups.items()
    )
    return f"rights are missing: {told}; grant them to the user of these settings"


def _listed(names: list[str]) -> str:
    named, more = names[:_NAMED], len(names) - _NAMED
    return ", ".join(named) + (f" and {more} more" if more > 0 else "")
