"""The benchmark's tool outputs, and what has to come of them.

Each task is an insurance claim of four outputs: three captures and a handoff on the contract of
`documents.yaml`. A quarter of the handoffs lose one or two fields that an earlier output captured.
Many tasks are under way at once, so that consecutive records belong to different tasks.
"""

import random
from collections.abc import Iterator
from typing import Any, NamedTuple

import msgspec

OUTPUTS_A_TASK = 4
IN_FLIGHT = 5_000
LOSES_FIELDS = 0.25
_CAN_BE_LOST = ("incident", "damage", "photos")
_WORDS = ["hail", "roof", "gutter", "cellar", "water", "pump", "ceiling", "plaster", "boiler"]
_WORDS += ["storm", "branch", "fence", "window", "frame", "door", "heating", "pipe", "chimney"]


class Workload(NamedTuple):
    """`records` are (key, value) in the order to be sent; `handoffs` counts the packages that must
    come of them, and `lost` names the (task, field) of every violation."""

    records: list[tuple[bytes, bytes]]
    handoffs: int
    lost: set[tuple[str, str]]

    @property
    def bytes_a_record(self) -> float:
        """The mean size of a value."""
        return sum(len(value) for _, value in self.records) / len(self.records)


def make(events: int, began: int, seed: int = 1, in_flight: int = IN_FLIGHT) -> Workload:
    """`events` outputs, rounded down to whole tasks, the first at `began` (epoch ms)."""
    pick = random.Random(seed)
    lost: set[tuple[str, str]] = set()
    tasks = iter(range(events // OUTPUTS_A_TASK))
    under_way: list[Iterator[dict[str, Any]]] = []
    records: list[tuple[bytes, bytes]] = []
    while True:
        while len(under_way) < in_flight and (number := next(tasks, None)) is not None:
            under_way.append(_claim(f"claim-{number:08d}", pick, lost))
        if not under_way:
            break
        place = pick.randrange(len(under_way))
        output = next(under_way[place], None)
        if output is None:
            under_way[place] = under_way[-1]
            under_way.pop()
            continue
        output["id"] = f"out-{len(records):010d}"
        output["occurred_at"] = began + len(records)
        records.append((output["task_id"].encode(), msgspec.json.encode(output)))
    return Workload(records, events // OUTPUTS_A_TASK, lost)


def _claim(task_id: str, pick: random.Random, lost: set[tuple[str, str]]) -> Iterator[Any]:
    """The four outputs of one claim, still without id and time."""

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

    known = {
        "claimant": words(2).title(),
        "policy": f"P-{pick.randrange(10**8):08d}",
        "incident": words(34),
        "damage": {"part": pick.choice(_WORDS), "share": round(pick.random(), 4), "total": False},
        "photos": [f"img/{pick.randrange(10**6):06d}.jpg" for _ in range(4)],
        "amount": round(pick.uniform(100, 9_000), 2),
        "urgency": pick.randrange(1, 6),
    }
    yield output(
        "register",
        "intake-form",
        claimant=known["claimant"],
        policy=known["policy"],
        incident=known["incident"],
        channel=words(22),
    )
    yield output(
        "inspect", "photo-triage", damage=known["damage"], photos=known["photos"], remarks=words(46)
    )
    yield output(
        "assess",
        "cost-estimator",
        amount=known["amount"],
        urgency=known["urgency"],
        reasoning=words(56),
    )
    sent = dict(known)
    if pick.random() < LOSES_FIELDS:
        for name in pick.sample(_CAN_BE_LOST, pick.randrange(1, 3)):
            del sent[name]
            lost.add((task_id, name))
    last = output("decide", "claims-desk", **sent)
    last["handoff"] = {"to": "payout", "contract": "claim-to-payout"}
    yield last
