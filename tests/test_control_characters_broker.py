"""Control characters of documents and records, through a broker: commands, and the log."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

from click.testing import Result

from console.kafka import Writer, connect
from tests.commands import HandoffCommand, on_topic
from tests.hostile import CLASSES, FORGED, check_shown, contract, lines, outputs, receiver, spelled
from tests.lanes import ROOT, wait_for

# All of them at once; a stage, a tool, a task, a person and a field are called so.
NAME = f"a{''.join(CLASSES.values())}\n{FORGED}"
TYPED = NAME.replace("\0", "").replace("\n", "")  # as far as a shell could pass it on
RUN = [sys.executable, "-c", "from console.main import main; main()", "run"]


def test_nothing_of_it_reaches_a_terminal_or_the_log(
    handoff: HandoffCommand, tmp_path: Path
) -> None:
    for file, document in (
        ("r.yaml", receiver(NAME)),
        ("c.yaml", contract(NAME, accept_within="PT4H")),
    ):
        Path(file).write_text(spelled(document))
    said: dict[str, Result] = {}

    def do(*arguments: str, given: str | None = None) -> Result:
        result = handoff(*arguments, lines=given)
        what = " ".join(arguments[:3])
        assert result.exception is None or isinstance(result.exception, SystemExit), what
        check_shown(result.stdout, what)
        check_shown(result.stderr, what)
        said[what] = result
        return result

    assert do("receivers", "apply", "r.yaml").exit_code == 0
    assert do("contracts", "apply", "c.yaml").exit_code == 0
    Path("c.yaml").write_text(spelled(contract(NAME, accept_within="PT5H")))
    do("contracts", "apply", "c.yaml")  # refused: another body
    cluster = connect()
    writer = Writer(cluster)
    for topic in ("handoff.contracts", "handoff.receivers", "handoff.receiver-liveness"):
        writer.write(topic, NAME.encode(), b"{}", [], "no document")
    for topic in ("handoff.packages", "handoff.held", "handoff.violations", "handoff.signals"):
        writer.write(topic, NAME.encode(), b"{}", [(NAME, NAME.encode())], "no record")
    header = [(NAME.replace("\0", ""), NAME.encode())]
    bad = json.dumps(outputs(NAME)[0] | {"occurred_at": NAME}).encode()
    writer.write("handoff.tool-outputs", NAME.encode(), bad, header, "no time")
    writer.flush()
    do("send", "-", given=lines(NAME) + json.dumps({"topic": NAME, "task_id": NAME}))

    log = tmp_path / "run.log"
    with log.open("w") as stream:
        process = subprocess.Popen(
            RUN,
            env=os.environ
            | handoff.environment
            | {"PYTHONPATH": str(ROOT), "HANDOFF_WEB_PORT": "0", "HANDOFF_EDGE_INTERVAL_MS": "100"},
            stdout=stream,
            stderr=stream,
        )
    try:
        wait_for(lambda: len(on_topic("handoff.edges")) >= 4, 60, f"edges\n{log.read_text()}")
        wait_for(lambda: on_topic("handoff.patterns"), 30, "patterns")
        (held,) = json.loads(do("held", "list", "--output", "json").stdout)
        for what in ("packages", "held", "violations", "signals", "patterns", "dead-letters"):
            for form in ("text", "json"):
                do("tail", what, "--from-beginning", "--timeout", "1", "--output", form)
        for command in [
            "contracts list",
            "contracts show c",
            "receivers list",
            "dead-letters list",
            "held list",
            "doctor",
            "topics plan",
            "topics apply",
            "edges",
            "audit",
            "discover",
        ]:
            do(*command.split())
        for command in [
            "contracts list",
            "contracts show c",
            "receivers list",
            "dead-letters list",
            "doctor",
        ]:
            do(*command.split(), "--output", "json")
        for letter in on_topic("handoff.dead-letters"):
            do("dead-letters", "show", f"{letter.partition}/{letter.offset}")
            do("dead-letters", "show", f"{letter.partition}/{letter.offset}", "--output", "json")
        for form in ("text", "json"):
            do("held", "show", held["id"], "--output", form)
            do("show", NAME, "--output", form)
            do("show", NAME, "--values", "--output", form)
            do("contracts", "diff", "registered", "c.yaml", "--output", form)
            do("contracts", "test", "c.yaml", "--from-topic", "--output", form)
        do("dry-run", "--contracts", "c.yaml", "--from-topic")
        do("edges", "--output", "dot")
        do("show", TYPED)
        do("held", "show", TYPED)
        do("contracts", "show", TYPED)
        do("dead-letters", "show", TYPED)
        do("ack", TYPED, "--status", "accepted")
        who = ("--by", TYPED, "--reason", TYPED)
        do("amend", held["id"], "--text", f"{TYPED}={TYPED}", *who)
        do("amend", held["id"], "--set", f"{TYPED}=x", *who)
        do("release", held["id"], *who)
        do("discard", held["id"], *who)
        do("ack", held["id"], "--status", "rejected", "--output", "json", *who)
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0, log.read_text()
    finally:
        process.kill()
        process.wait(10)
    check_shown(log.read_text(), "the log")
    assert "cannot be read" in log.read_text(), "it names the documents"
    # They did run: what they said is about these names.
    for what in ("contracts list", "tail packages --from-beginning", "audit", "discover", "edges"):
        assert said[what].exit_code == 0, said[what].stderr
        assert FORGED in said[what].stdout, what
