"""Kafka's rights in plain words: which one is missing, when Kafka refuses a request for want of it.

Kafka tells the kind of the resource, and neither its name nor the operation. So whoever asks says
which rights the request needs, and this picks those that the error may be about. Pure.
"""

from typing import Literal, NamedTuple

Kind = Literal["topic", "group", "transactional id", "cluster"]


class Right(NamedTuple):
    """An operation on one resource; both as Kafka's documentation names them (Security, "Operations
    and Resources on Protocols"). The cluster has no name."""

    operation: str
    kind: Kind
    name: str = ""

    def __str__(self) -> str:
        return f"{self.operation} on the {self.kind} {self.name}".rstrip()
