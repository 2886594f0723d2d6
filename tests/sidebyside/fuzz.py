"""Worlds of odd values: numbers and texts in every spelling, names that hide each other, values as
large as the limits, tasks of hundreds of outputs, more handoffs than a task may have open."""

import json
from random import Random
from typing import Any, Final

from msgspec import Raw
from msgspec.structs import replace

from processors.integrity.limits import Limits
from tests.simulated.traffic import Traffic
from tests.simulated.world import FIELDS, NAMES, Data, SimulatedWorld

ODD_NAMES: Final = ("lead.name", "lead.deep", "lead.deep.a", "a", "a.b", "a.b.c", "ünïcode", "a b")
ODD_FIELDS: Final[tuple[Data, ...]] = (
    {"name": "deep", "from": ["lead.deep.a", "a.b.c", "lead.deep"]},
    {"name": "a", "type": ["object", "array"], "rebuild": {"max_age": "PT10M"}},
    {"name": "b", "from": ["a.b", "a"], "rebuild": {"pick": "unambiguous"}, "weight": 0.1},
    {"name": "count", "from": ["score", "budget", "a.n"], "type": "number"},
    {"name": "sure", "from": ["mood", "score"], "translate": {"true": "yes", "1": 1, "hot": None}},
    {"name": "text", "from": ["notes", "topic"], "schema": {"type": "string", "maxLength": 12}},
    {"name": "personal", "from": ["lead", "lead.name"], "classification": "pii"},
    {"name": "ünïcode", "required": False, "weight": 7},
)
# As they are spelled: equal values in several ways, and what a parser may stumble over.
SCALARS: Final = (
    "1", "1.0", "1e0", "10e-1", "-0", "0.0", "70", "70.00", "7E1", "0.1", "1e-9", "1E+400",
    "12345678901234567890", "9007199254740993", "true", "false", "null", '""', '" "', '"1"',
    '"true"', '"red shoes"', '"r\\u0065d shoes"', '"red\\tshoes"', '"caf\\u00e9"', '"café"',
    '"\\ud83d\\ude00"', '"\\u2028"', '"they want red shoes now, and café"', '"score 70, 5552368"',
    '"5552368"', '"hot"', '"cold"', "[]", "{}", "[null]", '[""]', '{"":{}}',
)  # fmt: skip
MEMBERS: Final = ("name", "deep", "a", "b", "c", "n", "topic", "", "x.y")
SPACES: Final = ("", "", "", " ", "\n  ")


class Wild(SimulatedWorld):
    """A world whose contracts ask for more, and that seldom has tight limits."""

    def _limits(self) -> Limits:
        drawn = super()._limits()
        if self.random.random() < 0.3:
            return drawn
        own = Limits()
        return replace(
            drawn,
            fields=own.fields,
            value_bytes=own.value_bytes,
            state_bytes=own.state_bytes,
            open_handoffs=own.open_handoffs,
        )

    def _contract(self, id_: str, version: int) -> Data:
        random, made = self.random, super()._contract(id_, version)
        wild = random.sample((*FIELDS, *ODD_FIELDS), random.randint(0, 8))
        made["fields"] = list({each["name"]: each for each in (*made["fields"], *wild)}.values())
        return made


class WildTraffic(Traffic):
    """Tasks that carry anything."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.long = self.random.random() < 0.2
        self.large = self.random.random() < 0.15
        names = [*NAMES, *ODD_NAMES]
        if self.long:
            self.tasks = min(self.tasks, 2)
            names += [f"n{number}" for number in range(self.random.choice((40, 280)))]
        self.names = tuple(names)

    def _length(self) -> int:
        return self.random.choice((100, 200, 400)) if self.long else super()._length()

    def _gap(self) -> int:
        return self.random.choice((0, 1, 7, 1_000, 60_000)) if self.long else super()._gap()

    def _parts(self) -> int:
        return self.random.choice((2, 8, 16)) if self.random.random() < 0.05 else super()._parts()

    def _value(self, name: str) -> Any:
        random = self.random
        if random.random() < 0.4:
            return super()._value(name)
        if self.large and random.random() < 0.2:
            # As large as a value may be, and a byte more or less.
            length = self.world.limits.value_bytes + random.choice((-1, 0, 1))
            return Raw(b'"' + b"x" * max(length - 2, 0) + b'"')
        return Raw(_json(random, random.choice((0, 0, 0, 1, 2, 3))).encode())


def _json(random: Random, depth: int) -> str:
    """A JSON text; `depth` bounds how deep it nests."""
    if not depth:
        return random.choice(SCALARS)
    space = random.choice(SPACES)
    inner = [_json(random, random.randint(0, depth - 1)) for _ in range(random.randint(0, 3))]
    if random.random() < 0.3:
        return "[" + f",{space}".join(inner) + "]"
    members = (f"{json.dumps(random.choice(MEMBERS))}:{space}{each}" for each in inner)
    return "{" + space + f",{space}".join(members) + space + "}"
