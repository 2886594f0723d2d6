"""Two checkouts side by side: this one and itself publish the same, and a copy in which one small
thing is another one is found, and shown shortly.

What is changed in the copies is changed around the driver, as its inside is nobody's business.
"""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.sidebyside.__main__ import main
from tests.sidebyside.compare import Pair
from tests.sidebyside.worlds import (
    ROOT,
    PlayedWorld,
    benchmark,
    fuzzed,
    lives,
    scenarios,
    simulated,
)

# Each is written at the end of the copy's driver.
ALTERED = {
    "a value": """
step = Driver.step
def altered(self, record, now):
    return [
        Output(o.topic, o.key, o.value and o.value.replace(b":true", b":false"), o.headers)
        for o in step(self, record, now)
    ]
Driver.step = altered
""",
    "the spelling of a value": """
step = Driver.step
def altered(self, record, now):
    return [
        Output(o.topic, o.key, o.value and o.value.replace(b"70.0", b"70"), o.headers)
        for o in step(self, record, now)
    ]
Driver.step = altered
""",
    "the order": """
step = Driver.step
def altered(self, record, now):
    outputs = step(self, record, now)
    return [*outputs[:-2], *reversed(outputs[-2:])]
Driver.step = altered
""",
    "a header": """
step = Driver.step
def altered(self, record, now):
    return [
        Output(o.topic, o.key, o.value, [h for h in o.headers if h[0] != "traceparent"])
        for o in step(self, record, now)
    ]
Driver.step = altered
""",
    "a wake": """
due = Driver.next_due
def altered(self, number, until):
    found = due(self, number, until)
    return None if found is None else found + 1
Driver.next_due = altered
""",
    "the state after a restart": """
assign = Driver.assign
def altered(self, partition, store):
    for key in sorted(store)[:1]:
        del store[key]
    assign(self, partition, store)
Driver.assign = altered
""",
    "a count": """
merge = Driver.merge
def altered(self, changes):
    merge(self, changes)
    for name in list(self.counts):
        if name[0] == "handoffs_accepted" and name[2] == "late":
            self.counts[name] -= 1
Driver.merge = altered
""",
    "a sum": """
sums = Driver.sums
def altered(self):
    return [
        Output(o.topic, o.key, o.value.replace(b'"loops"', b'"bare"'), o.headers)
        for o in sums(self)
    ]
Driver.sums = altered
""",
    "what is forgotten": """
step = Driver.step
def altered(self, record, now):
    outputs = step(self, record, now)
    cut = any(n[0] == "captures_forgotten" for p in self.partitions.values() for n in p.counts)
    return outputs[:-1] if cut else outputs
Driver.step = altered
""",
}
FOUND = {"a count": "counts", "a sum": "sums"}


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    for name in ("processors", "schemas"):
        shutil.copytree(ROOT / name, tmp_path / name)
    return tmp_path


def altered(copy: Path, what: str) -> Path:
    with (copy / "processors" / "driver.py").open("a") as driver:
        driver.write(ALTERED[what])
    return copy


def few() -> Iterator[PlayedWorld]:
    yield from simulated(range(1, 25))
    yield from lives(range(1), tasks=20)


def test_a_checkout_publishes_what_it_publishes() -> None:
    with Pair(ROOT, ROOT) as pair:
        records = 0
        for made in (few(), scenarios(), fuzzed(range(2)), benchmark(400)):
            for world in made:
                compared = pair.compare(world)
                assert not compared.differences, world.name
                records += compared.records
    assert records > 5_000


@pytest.mark.parametrize("what", [name for name in ALTERED if name != "what is forgotten"])
def test_what_is_another_one_is_found(what: str, copy: Path) -> None:
    with Pair(ROOT, altered(copy, what)) as pair:
        for world in few():
            found = {each.what for each in pair.compare(world).differences}
            if found:
                assert FOUND.get(what, "records") in found
                return
    pytest.fail("nothing differs")


def test_a_difference_is_shown_shortly(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = altered(copy, "a header")
    assert main([str(other), "--only", "simulated", "--worlds", "9", "--most", "1"]) == 1
    shown = capsys.readouterr().out.splitlines()
    at = shown.index("    header traceparent")
    assert shown[at + 1] == "      here   b'00-ab-cd-01'"
    assert shown[at + 2] == "      there  (nothing)"
    steps = [line for line in shown if "  [" in line]
    assert 0 < len(steps) <= 3, "what does not matter is left out"
    assert shown[-1] == "1 worlds differ"


def test_what_differs_where_limits_cut_can_be_told_apart(
    copy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = str(altered(copy, "what is forgotten"))
    story = [other, "--only", "simulated", "--worlds", "8", "--limits"]
    assert main([*story, "tiny"]) == 1
    assert main([*story, "tiny", "--apart"]) == 0
    assert " more where limits cut" in capsys.readouterr().out
    assert main([*story, "default"]) == 0


def test_what_is_written_for_an_output_is_measured(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(ROOT), "--state"]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()[2:]]
    assert [row[-7] for row in rows] == ["4", "40", "400", "1000"] * 2
    assert all(row[-4] == row[-3] for row in rows)


def test_what_is_no_checkout_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SystemExit):
        main([str(tmp_path)])
