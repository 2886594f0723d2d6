"""Whether integrity, insights and intake do their work, asked of Kafka now and again; and whether
people are told.

Intake counts while a source is registered and active.
"""

import logging
import time
from collections.abc import Callable, Mapping

import pydantic
from confluent_kafka import KafkaException

from alerts.delivery import SinkFigures
from alerts.progress import LIMIT_SECONDS, Progress, minutes
from processors.insights.processor import INSIGHTS
from processors.integrity.processor import INTEGRITY
from processors.runtime import clients
from processors.runtime.groups import GroupQueryFailed, Groups, committed
from processors.runtime.restoration import Bounds, Place, bounds
from processors.runtime.settings import Settings
from processors.runtime.tables import read_table
from processors.runtime.transactions import LaneError
from schemas import sources
from topics.catalogue import physical
from topics.look import look
from topics.rights import Right, missing

log = logging.getLogger("handoff.alerts")

_SECONDS = 10.0
_INTAKE = "intake"


def untold(figures: Mapping[str, SinkFigures], idle: float) -> str | None:
    """Why people are not told, as a sentence; None where they are. `figures` are those of the
    sinks, `idle` the seconds since alerts were decided last."""
    if idle >= LIMIT_SECONDS:
        return f"no alert was decided for {minutes(idle)}"
    oldest, name = max(((each.oldest, name) for name, each in figures.items()), default=(0.0, ""))
    if oldest < LIMIT_SECONDS:
        return None
    why = figures[name].why or "it takes them too slowly"
    return f"an alert has waited for {minutes(oldest)} for the sink {name}: {why}"


class Health:
    """Asked by one thread at a time. Its clients are opened for each look: a look is rare, and a
    client that is kept may not find a coordinator again (see `processors.runtime.groups`)."""

    def __init__(self, settings: Settings, clock: Callable[[], float] = time.monotonic) -> None:
        self._settings = settings
        self._clock = clock
        self._progress = {name: Progress(name) for name in (INTEGRITY.name, INSIGHTS.name, _INTAKE)}

    def look(self) -> str | None:
        """Why not all is well, as a sentence; None where it is. Whoever cannot tell says so."""
        try:
            return self._look()
        except (KafkaException, GroupQueryFailed, LaneError) as error:
            return f"Kafka does not tell how the processors do: {error}"

    def _look(self) -> str | None:
        prefix = self._settings.topic_prefix
        inputs = {
            each.name: [physical(name, prefix) for name in each.inputs]
            for each in (INTEGRITY, INSIGHTS)
        }
        if foreign := self._foreign():
            inputs[_INTAKE] = foreign
        groups = Groups(self._settings)
        try:
            names = {name: clients.group_id(self._settings, name) for name in inputs}
            members, unknown = groups.members(names.values())
        finally:
            groups.close()
        for why in unknown.values():
            raise GroupQueryFailed(why)
        problems = []
        for name, has in self._inputs(inputs).items():
            at = committed(self._settings, names[name], list(has), _SECONDS)
            # Where nothing was committed, the group has all from the first record on before it.
            at = {place: at.get(place, each.first) for place, each in has.items()}
            ends = {place: each.end for place, each in has.items()}
            number = members[names[name]]
            problems.append(self._progress[name].note(self._clock(), number, ends, at))
        return next((each for each in problems if each is not None), None)

    def _foreign(self) -> list[str]:
        """The topics that active sources read."""
        name = physical(sources.TOPIC, self._settings.topic_prefix)
        admin = clients.admin(self._settings)
        try:
            table = read_table(self._settings, admin, name)
        finally:
            clients.close_admin(admin)
        found: set[str] = set()
        for key, value in table.items():
            if b"/" in key:  # a request to read again
                continue
            try:
                source = sources.from_json(value)
            except pydantic.ValidationError:
                continue  # intake says so
            if source.status == "active":
                found.update(source.topic)
        return sorted(found)

    def _inputs(self, inputs: dict[str, list[str]]) -> dict[str, dict[Place, Bounds]]:
        """What the inputs that are there hold."""
        admin = clients.admin(self._settings)
        try:
            seen = look(admin, {topic for each in inputs.values() for topic in each}, _SECONDS)
            if seen.hidden:
                raise GroupQueryFailed(missing(Right("DESCRIBE", "topic", t) for t in seen.hidden))
            return {
                name: bounds(
                    admin,
                    [(t, n) for t in topics if t in seen.topics for n in seen.topics[t].leaders],
                )
                for name, topics in inputs.items()
            }
        finally:
            clients.close_admin(admin)
