"""The benchmark's tool outputs, and what has to come of them.

Each task is an insurance claim. It goes in rounds of four outputs: three captures and a handoff on
the contract of `documents.yaml`. Where a claim has more than one round, each has new values for the
contract's fields, under the same names, and notes under names of its own (`remarks_2`). A quarter
of the handoffs lose one or two fields that an earlier output of their round captured. Many tasks
are under way at once, so that consecutive records belong to different tasks.
"""

import random
from collections.abc import Iterator
from typing import Any, NamedTuple

import msgspec

OUTPUTS_A_ROUND = 4
IN_FLIGHT = 5_000
LOSES_FIELDS = 0.25
_CAN_BE_LOST = ("incident", "damage", "photos")
_WORDS = ["hail", "roof", "gutter", "cellar", "water", "pump", "ceiling", "plaster", "boiler"]
_WORDS += ["storm", "branch", "fence", "window", "frame", "door", "heating", "pipe", "chimney"]

Place = tuple[str, str]  # of a handoff: its task and the id of the output that hands off


class Workload(NamedTuple):
    """`records` are (key, value) in the order to be sent. `lost` has an entry for each handoff: the
    fields that it lost, and the values that they are rebuilt with."""

    records: list[tuple[bytes, bytes]]
    lost: dict[Place, dict[str, Any]]

    @property
    def handoffs(self) -> int:
        """How many packages must come of it."""
        return len(self.lost)

    @property
    def tasks(self) -> int:
        """How many tasks it has."""
        return len({task_id for task_id, _ in self.lost})

    @property
    def bytes_a_record(self) -> float:
        """The mean size of a value."""
        return sum(len(value) for _, value in self.records) / len(self.records)


def make(
    events: int,
    began: int,
    seed: int = 1,
    in_flight: int = IN_FLIGHT,
    outputs_a_task: int = OUTPUTS_A_ROUND,
    name: str = "claim",
) -> Workload:
    """`events` outputs, rounded down to whole tasks, the first at `began` (epoch ms).

    `outputs_a_task` is a multiple of four. Task ids begin with `name`.
    """
    pick = random.Random(seed)
    lost: dict[Place, dict[str, Any]] = {}
    tasks = iter(range(events // outputs_a_task))
    rounds = outputs_a_task // OUTPUTS_A_ROUND
    under_way: list[Iterator[tuple[dict[str, Any], dict[str, Any]]]] = []
    records: list[tuple[bytes, bytes]] = []
    while True:
        while len(under_way) < in_flight and (number := next(tasks, None)) is not None:
            under_way.append(_claim(f"{name}-{number:08d}", rounds, pick))
        if not under_way:
            break
        place = pick.randrange(len(under_way))
        made = next(under_way[place], None)
        if made is None:
            under_way[place] = under_way[-1]
            under_way.pop()
            continue
        output, dropped = made
        output["id"] = f"out-{len(records):010d}"
        output["occurred_at"] = began + len(records)
        records.append((output["task_id"].encode(), msgspec.json.encode(output)))
        if "handoff" in output:
            lost[output["task_id"], output["id"]] = dropped
    return Workload(records, lost)


def _claim(
    task_id: str, rounds: int, pick: random.Random
) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """The outputs of one claim, still without id and time, each with what it lost."""

    def words(count: int) -> str:
        return " ".join(pick.choices(_WORDS, k=count))

    def output(stage: str, tool: str, **context: Any) -> dict[str, Any]:
        return {
            "id": "",
            "task_id": task_id,
            "workflow": "claim",
            "stage": stage,
            "tool": tool,
            "team": "claims",
            "occurred_at": 0,
            "context": context,
        }

    known: dict[str, Any] = {
        "claimant": words(2).title(),
        "policy": f"P-{pick.randrange(10**8):08d}",
    }
    for number in range(1, rounds + 1):
        suffix = "" if number == 1 else f"_{number}"
        known |= {
            "incident": words(34),
            "damage": {
                "part": pick.choice(_WORDS),
                "share": round(pick.random(), 4),
                "total": False,
            },
            "photos": [f"img/{pick.randrange(10**6):06d}.jpg" for _ in range(4)],
            "amount": round(pick.uniform(100, 9_000), 2),
            "urgency": pick.randrange(1, 6),
        }
        registered = {name: known[name] for name in ("claimant", "policy", "incident")}
        yield output("register", "intake-form", **registered, **{f"channel{suffix}": words(22)}), {}
        inspected = {name: known[name] for name in ("damage", "photos")}
        yield output("inspect", "photo-triage", **inspected, **{f"remarks{suffix}": words(46)}), {}
        assessed = {name: known[name] for name in ("amount", "urgency")}
        yield (
            output("assess", "cost-estimator", **assessed, **{f"reasoning{suffix}": words(56)}),
            {},
        )
        sent, dropped = dict(known), {}
        if pick.random() < LOSES_FIELDS:
            for name in pick.sample(_CAN_BE_LOST, pick.randrange(1, 3)):
                dropped[name] = sent.pop(name)
        last = output("decide", "claims-desk", **sent)
        last["handoff"] = {"to": "payout", "contract": "claim-to-payout"}
        yield last, dropped
