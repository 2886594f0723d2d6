"""What one record may cause is bounded while it is made; a wake goes on in the next transaction."""

import ast
import json
import tracemalloc
from typing import Any

import pytest

from processors import driver as driving
from processors import journal
from processors.contracts import values
from processors.driver import Driver
from processors.integrity import fields as fields_of
from processors.integrity import outputs as judging
from processors.integrity.handoff import decide
from processors.integrity.limits import Limits
from processors.integrity.processor import integrity
from schemas.flow import Output, Record
from tests.core import CONTRACT, TOPIC, Registry

NOW = 1_795_338_900_000
FULL = driving.FULL
DAY = 86_400_000


class OutputsWorld:
    """The integrity core over records of one partition."""

    def __init__(self, limits: Limits, **story: Any) -> None:
        self.registry = Registry(story)
        self.driver: Driver[Any] = Driver(integrity(limits), self.registry.tables())
        self.driver.assign(0, {})
        self.driver.notice(NOW)
        self._offset = 0

    def step(self, task: str = "t1", parts: int = 0, **members: Any) -> list[Output]:
        """A tool output with this many handoffs, and what follows from it."""
        self._offset += 1
        body: dict[str, Any] = {
            "id": f"e{self._offset}",
            "task_id": task,
            "workflow": "lead",
            "stage": "qualify",
        }
        body |= {"tool": "crm", "occurred_at": NOW} | members
        if parts:
            body["handoff"] = [{"to": "marketing", "part": str(n)} for n in range(parts)]
        value = json.dumps(body).encode()
        record = Record(TOPIC, 0, self._offset, body["task_id"].encode(), value, NOW)
        return self.driver.step(record, NOW)

    def commit(self) -> int:
        """Commit; the bytes of the changelog."""
        changes = list(self.driver.changelog())
        self.driver.merge(changes)
        return sum(len(encoded or b"") for _, _, encoded in changes)


def fields(number: int, name: str = "f") -> list[dict[str, Any]]:
    return [{"name": f"{name}{n}"} for n in range(number)]


def size(outputs: list[Output]) -> int:
    return sum(len(each.key or b"") + len(each.value or b"") for each in outputs)


def reason(outputs: list[Output]) -> tuple[str, str]:
    """Code and message of the one dead letter."""
    (letter,) = outputs
    assert letter.topic == "handoff.dead-letters"
    headers = {name: content.decode() for name, content in letter.headers}
    return headers["__streams.errors.exception"], headers["__streams.errors.message"]


# A record of a few bytes or of one MiB that would publish tens of megabytes.
LONG = "n" * 508
FAT: dict[str, tuple[list[dict[str, Any]], dict[str, Any]]] = {
    "a large contract": (fields(1000), {"context": {}}),
    "long names": (fields(400, LONG), {"id": "i" * 512, "team": "m" * 512, "context": {}}),
    "many names": ([], {"context": {f"k{n}": n for n in range(60_000)}}),
    "one large value": ([], {"context": {"x": "a" * 900_000}}),
    "the string that holds them": (
        fields(1000),
        {"context": {"N" * 400_000: " ".join(f"value-{n:04d}" for n in range(1000))}},
    ),
}


@pytest.mark.parametrize("kind", FAT)
def test_what_causes_too_much_is_a_dead_letter_and_memory_stays_flat(kind: str) -> None:
    declared, members = FAT[kind]
    limits = Limits(output_bytes=4 << 20)
    world = OutputsWorld(limits, contracts=[{"fields": declared}])
    known = {f"f{n}": f"value-{n:04d}" for n in range(1000)}
    world.step(context=known)
    world.commit()
    good = world.step("good")
    assert [each.topic for each in good] == []
    tracemalloc.start()
    for _ in range(3):
        before, _ = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        outputs = world.step(parts=16, **members)
        _, peak = tracemalloc.get_traced_memory()
        assert peak - before < 80 << 20, "bounded while it is made, and not after"
        code, message = reason(outputs)
        assert code == "output_too_large"
        assert message == (
            "more than 4,194,304 bytes would follow from it, the limit (max_output_bytes); "
            "hand off in fewer parts, or send less context"
        )
        del outputs
        assert size(world.step("good", parts=1)) > 1_000, "another task's goes through"
    tracemalloc.stop()
    assert world.driver.partitions[0].overlay.keys() == {"lead/good"}, "nothing of it is taken"


def test_as_much_as_the_limit_goes_through() -> None:
    """The limit counts keys and values, exactly."""
    whole = size(OutputsWorld(Limits(), contracts=[{"fields": fields(50)}]).step(parts=16))
    for most, is_refused in ((whole, False), (whole - 1, True)):
        world = OutputsWorld(Limits(output_bytes=most), contracts=[{"fields": fields(50)}])
        outputs = world.step(parts=16)
        assert (outputs[0].topic == "handoff.dead-letters") is is_refused


def test_what_a_verdict_has_at_least_is_never_more_than_is_published(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """By it a record is refused before any of its records are made."""
    least: list[int] = []

    def noted(*given: Any, **named: Any) -> Any:
        verdict = decide(*given, **named)
        least.append(verdict.least)
        return verdict

    monkeypatch.setattr(judging, "decide", noted)
    rules = [{"name": "r", "expr": "false", "message": "m"}]
    shapes: list[dict[str, Any]] = [{}, {"a": 1}, {f"{n}": n for n in range(300)}]
    for context in shapes:
        for declared in ([], fields(40), [{"name": "a", "translate": {"x": "y"}}]):
            story: dict[str, Any] = {"contracts": [{"fields": declared, "rules": rules}]}
            story["contracts"].append(CONTRACT | {"version": 2, "status": "trial"} | {"fields": []})
            world = OutputsWorld(Limits(), **story)
            least.clear()
            outputs = world.step(parts=2, context=context)
            assert 0 < sum(least) <= size(outputs)


# --- wakes ----------------------------------------------------------------------------------------


def opened(limits: Limits, number: int, **contract: Any) -> OutputsWorld:
    """A task with so many open handoffs, each with the violations of 50 fields."""
    world = OutputsWorld(limits, contracts=[{"fields": fields(50)} | contract])
    for n in range(number):
        world.step(handoff={"to": "marketing", "part": str(n)})
    world.commit()
    return world


def test_deadlines_that_cause_too_much_are_passed_in_several_transactions(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nobody could send a deadline again, so none is refused."""
    at = NOW + 40 * DAY
    whole = opened(Limits(), 20).driver.fire(0, at, at, 10)
    monkeypatch.setattr(driving, "FULL", 100_000)
    world = opened(Limits(output_bytes=100_000), 20)
    pieces: list[list[Output]] = []
    while (due := world.driver.next_due(0, at)) is not None and due <= at:
        pieces.append(world.driver.fire(0, at, at, 10))
        assert 0 < size(pieces[-1]) < 200_000
        world.commit()
    assert len(pieces) > 3
    split = [each for piece in pieces for each in piece]
    assert sorted(each.value or b"" for each in split) == sorted(
        each.value or b"" for each in whole
    )
    assert not world.driver.partitions[0].journal.store, "all of it is over, and the task forgotten"
    assert world.driver.counts["failed_wakes", "", ""] == 0


def test_a_sweep_that_causes_too_much_goes_on_until_all_is_looked_at(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def swept(world: OutputsWorld) -> list[list[Output]]:
        """A new version lets all of the held ones go."""
        body = {"version": 2, "fields": fields(50), "hold_on": []}
        world.registry.register({"contracts": [body]}, NOW)
        world.driver.tables = world.registry.tables()
        world.driver.notice(NOW)
        pieces = []
        while world.driver.sweeping:
            pieces.append(world.driver.sweep(NOW, 10))
            world.commit()
        return pieces

    (whole,) = swept(opened(Limits(), 20, hold_on=["never_captured"]))
    monkeypatch.setattr(driving, "FULL", 100_000)
    pieces = swept(opened(Limits(output_bytes=100_000), 20, hold_on=["never_captured"]))
    assert len(pieces) > 3
    assert all(size(piece) < 200_000 for piece in pieces)
    split = [each for piece in pieces for each in piece]
    assert sum(each.topic == "handoff.packages" for each in split) == 20
    assert sorted(each.value or b"" for each in split) == sorted(
        each.value or b"" for each in whole
    )


# --- one transaction ------------------------------------------------------------------------------


def test_a_transaction_is_full_of_what_it_publishes_and_changes() -> None:
    world = OutputsWorld(Limits(), contracts=[{"fields": fields(200)}])
    published = 0
    while not world.driver.full:
        published += size(world.step(f"t{published}", parts=16))
    assert FULL * 0.5 < published < FULL * 1.5
    world.commit()
    assert not world.driver.full
    changed = 0
    while not world.driver.full:
        world.step(f"c{changed}", context={"a": "x" * 60_000, "b": "y" * 60_000})
        changed += 1
    assert FULL * 0.8 < world.commit() < FULL * 1.5, "the states that it changes count, too"
    dead = 0
    while not world.driver.full:
        world.step(f"d{dead}", context="no context" * 50_000)
        dead += 500_000
    assert FULL * 0.8 < dead < FULL * 1.5, "and so do dead letters"
    world.driver.drop()
    assert not world.driver.full


def test_no_wake_begins_in_a_full_transaction() -> None:
    world = OutputsWorld(Limits(), contracts=[{"fields": []}])
    for n in range(3):
        world.step(f"t{n}", parts=1)
    world.commit()
    while not world.driver.full:
        world.step("other", context="no context" * 50_000)
    at = NOW + 40 * DAY
    assert world.driver.fire(0, at, at, 10) == []
    world.driver.partitions[0].wakes.sweep_all()
    assert world.driver.sweep(NOW, 10) == []
    assert world.driver.sweeping, "it waits"
    world.commit()
    assert len(world.driver.fire(0, at, at, 10)) >= 3


def test_decoded_states_are_kept_up_to_so_many_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal, "MAX_RECENT_BYTES", 300_000)
    world = OutputsWorld(Limits())
    kept = []
    for n in range(55):
        world.step(f"t{n}", context={"a": "x" * 20_000})
        world.commit()
        kept.append(world.driver.partitions[0].journal.decoded)
    assert max(kept) in range(10, 20)
    for _ in range(60):
        world.step("t54", context={"a": "y" * 20_000})
        world.commit()
    assert world.driver.partitions[0].journal.decoded <= kept[-1], (
        "one that is written again and again takes no more room"
    )


def test_the_parts_of_an_output_are_judged_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """What they have in common is worked out once for the contract, and once for its trial."""
    judged = []

    def assemble(contract: Any, *others: Any) -> Any:
        judged.append((contract.id, contract.version))
        return assembling(contract, *others)

    assembling = fields_of.assemble
    monkeypatch.setattr("processors.integrity.handoff.assemble", assemble)
    wide = CONTRACT | {"fields": fields(5)}
    trial = wide | {"version": 2, "status": "trial", "fields": fields(6)}
    world = OutputsWorld(Limits(), contracts=[wide, trial])
    outputs = world.step(parts=7)
    assert sorted(judged) == [(CONTRACT["id"], 1), (CONTRACT["id"], 2)]
    found = [json.loads(output.value or b"") for output in outputs if "violations" in output.topic]
    assert len([each for each in found if each["contract_version"] == 1]) == 7 * 5
    assert len([each for each in found if each["contract_version"] == 2]) == 7 * 6


def test_what_many_fields_and_held_handoffs_are_judged_by_is_read_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An object into which the paths of fifty fields lead, dates in words, and lists as Python
    writes them: sixteen held handoffs, judged again, read none of them anew."""
    read = {"objects": 0, "dates": 0, "lists": 0}

    def counted(name: str, call: Any) -> Any:
        def counting(*given: Any, **named: Any) -> Any:
            read[name] += 1
            return call(*given, **named)

        return counting

    monkeypatch.setattr(values, "_decode_members", counted("objects", values._decode_members))
    monkeypatch.setattr(values, "canonical", counted("dates", values.canonical))
    monkeypatch.setattr(ast, "literal_eval", counted("lists", ast.literal_eval))
    wide = [
        {"name": f"k{n}", "from": f"o.k{n}", "required": False, "same_as": "date"}
        for n in range(50)
    ]
    listed = {"name": "rows", "type": "array", "required": False}
    contract = CONTRACT | {"fields": [*wide, listed, {"name": "never"}], "hold_on": ["any"]}
    world = OutputsWorld(Limits(), contracts=[contract])
    days = [f"{n % 28 + 1} May {2010 + n // 28}" for n in range(50)]
    for round_ in range(4):
        said = {f"k{n}": days[(n + round_) % 50] for n in range(50)}
        world.step(context={"o": said, "rows": [round_]})
    world.step(parts=16, context={"rows": "['a', 'b', 'c']"})
    world.commit()
    read.update(dict.fromkeys(read, 0))
    world.step(context={"other": 1})
    assert read["objects"] <= 10
    assert read["dates"] <= 200
    assert read["lists"] == 0
