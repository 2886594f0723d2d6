"""A right that goes missing under a running processor is not the records' fault: it says which one,
is not ready meanwhile, sets no record aside, and goes on by itself when the right is back."""

from __future__ import annotations

import json
import re
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from console.kafka import connect, read_all
from schemas.serde import DEAD_LETTERS
from tests.lanes import wait_for
from tests.outcomes import note_counts
from tests.rights_documented import Names
from tests.secured import SecuredKafka
from tests.secured_stage import Stage
from topics.rights import Right

HANDOFFS = 15
RIGHTS: dict[str, Callable[[Names], Right]] = {
    "an output": lambda names: Right("WRITE", "topic", names.topic("signals")),
    "the dead letters": lambda names: Right("WRITE", "topic", names.topic("dead-letters")),
    "the changelog": lambda names: Right("WRITE", "topic", names.topic("integrity-state")),
    "the feed": lambda names: Right("WRITE", "topic", names.topic("internal.feed")),
    "an input": lambda names: Right("READ", "topic", names.topic("tool-outputs")),
    "the group": lambda names: Right("READ", "group", f"{names.application}-integrity"),
}


@pytest.fixture(scope="module")
def stage(secured: SecuredKafka, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    made = Stage(secured, f"b{time.time_ns() % 10**9}.", tmp_path_factory.mktemp("blocked"))
    try:
        made.start()
        yield made
    finally:
        made.instances.end()


def ready(stage: Stage) -> dict[str, Any]:
    """What /readyz answers, with its status."""
    lines = [line for line in stage.log.splitlines() if "web pages on " in line]
    base = lines[-1].partition("web pages on ")[2].split("/healthz")[0]
    try:
        with urllib.request.urlopen(base + "/readyz", timeout=5) as page:
            return {"status": page.status, **json.loads(page.read())}
    except urllib.error.HTTPError as error:
        with error:
            return {"status": error.code, **json.loads(error.read())}


def published(stage: Stage, topic: str) -> Counter[bytes | None]:
    return Counter(record.key for record in read_all(connect(stage.settings), [topic]))


@pytest.mark.fault("a right taken away under a running processor")
@pytest.mark.parametrize("of", RIGHTS)
def test_a_right_that_goes_missing_costs_no_record(stage: Stage, of: str) -> None:
    right = RIGHTS[of](stage.names)
    # A lane that is started anew says it in the words of its start.
    told = re.compile(rf"integrity is blocked: .*the right {re.escape(str(right))} is missing")
    packages = published(stage, "handoff.packages")
    letters = published(stage, DEAD_LETTERS).total()
    already = len(stage.log)
    with stage.without(stage.processor, right):
        stage.play(*["engineering"] * HANDOFFS)
        wait_for(lambda: told.search(stage.log, already), 40, told.pattern)
        wait_for(lambda: ready(stage)["status"] == 503, 5, "it is not ready")
        assert str(right) in ready(stage)["blocked"]["integrity"]
        stage.play(*["engineering"] * HANDOFFS)
    wait_for(lambda: ready(stage)["status"] == 200, 40, "it is ready again")
    assert "integrity goes on; it was blocked" in stage.log[already:]

    def judged() -> bool:
        return published(stage, "handoff.packages").total() >= packages.total() + 2 * HANDOFFS

    wait_for(judged, 30, "all handoffs sent")
    found = published(stage, "handoff.packages")
    note_counts(found, Counter(dict.fromkeys(found, 1)))
    assert set(found.values()) == {1}
    # The one record in each play that nobody understands, and no other.
    wait_for(lambda: published(stage, DEAD_LETTERS).total() == letters + 2, 10, "the dead letters")


def test_a_transactional_id_that_may_not_be_used_is_named(stage: Stage) -> None:
    ids = {right for right in stage.needed if right.kind == "transactional id"}
    already = len(stage.log)
    stage.broker.revoke(stage.processor, *ids)
    try:
        stage.play("engineering")
        told = "is blocked: init_transactions: the right WRITE on the transactional id"
        wait_for(lambda: told in stage.log[already:], 40, told)
    finally:
        stage.grant(stage.processor, ids)
    wait_for(lambda: ready(stage)["status"] == 200, 60, "it is ready again")
