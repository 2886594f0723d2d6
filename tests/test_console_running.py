"""`handoff up`, `run` and `demo`: whole process trees, and nothing left of them."""

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

DEMO = Path(__file__).parents[1] / "console" / "demo"
COMMAND = [sys.executable, "-m", "console"]

pytestmark = pytest.mark.embedded


def environment(**settings: str) -> dict[str, str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("HANDOFF_")}
    return clean | {f"HANDOFF_{name.upper()}": value for name, value in settings.items()}


def handoff(*arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *arguments],
        env=environment(**settings),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def descendants(pid: int) -> set[int]:
    """The process ids below `pid`, from /proc."""
    found: set[int] = set()
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):  # the thread is gone
            for child in map(int, children.read_text().split()):
                found |= {child} | descendants(child)
    return found


def until(condition: Callable[[], object], seconds: float, what: str) -> None:
    limit = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < limit, f"{what} did not happen within {seconds} s"
        time.sleep(0.05)


def gone(pids: set[int]) -> bool:
    """Whether all have ended; one that only waits for its parent to notice has."""
    for pid in pids:
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z":
                return False
        except FileNotFoundError:
            continue
    return True


@contextmanager
def up(
    directory: Path, *arguments: str, **settings: str
) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """`handoff up`, once its processor judges; with the address of its broker."""
    log = directory / "up.log"
    with log.open("wb") as stream:
        process = subprocess.Popen(
            [*COMMAND, "up", *arguments],
            env=environment(web_port="0", **settings) | {"TMPDIR": str(directory)},
            cwd=directory,
            stdout=stream,
            stderr=stream,
        )
    try:
        until(lambda: process.poll() is not None or b"KAFKA_BOOT" in log.read_bytes(), 30, "up")
        found = re.search(r"SERVERS=(\S+)", log.read_text())
        assert found, log.read_text()
        yield process, found[1]
    finally:
        process.kill()
        process.wait()


def test_demo_tells_its_stories_and_leaves_nothing(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [*COMMAND, "demo"],
        # A home in which nothing can be written.
        env=environment() | {"TMPDIR": str(tmp_path), "HOME": "/proc"},
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    seen: set[int] = set()
    while True:
        seen |= descendants(process.pid)
        try:
            out, err = process.communicate(timeout=0.2)
        except subprocess.TimeoutExpired:
            continue
        break
    text = out.decode()
    assert process.returncode == 0, err.decode()
    assert err == b""
    assert len(seen) >= 2, "a broker and a processor"
    assert gone(seen)
    assert list(tmp_path.iterdir()) == []
    for words in (
        "Sales to marketing",
        "handoff_missing: The task went from qualify to nurture and nobody declared",
        "implicit: nobody declared it",
        "rebuilt from converse/call-recorder",
        "context_unstructured: decision_date",
        "context_malformed: customer_id",
        "amended by Ilse Kramer",
        "completed to sales",
        "stalled  to operations",
        "accepted late, to operations",
        "HELD",
        "owner_missing",
        "sent, as it is, revision 2",
        "discarded to support",
        "has another owner now: Lena Fuchs",
        "ticket-314: the same, released",
        "raised    The same handoff is made again and again",
        "to act: Lena Fuchs",
        "resolved  ",
        "What was seen",
    ):
        assert words in text
    assert "Mara" not in text, "classified"


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_demo_that_is_ended_leaves_nothing(
    tmp_path: Path, number: signal.Signals, status: int
) -> None:
    # A shell ignores SIGINT in what it starts in the background, and children inherit that.
    inherited = signal.signal(signal.SIGINT, signal.default_int_handler)
    process = subprocess.Popen(
        [*COMMAND, "demo"],
        env=environment() | {"TMPDIR": str(tmp_path)},
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    signal.signal(signal.SIGINT, inherited)
    until(lambda: len(descendants(process.pid)) >= 2, 20, "a broker and a processor")
    children = descendants(process.pid)
    process.send_signal(number)
    _out, err = process.communicate(timeout=20)
    assert (process.returncode, err) == (status, b"")
    # One that was only just started notices by itself, and needs a moment for it.
    until(lambda: gone(children), 5, "the end of the children")
    assert list(tmp_path.iterdir()) == []


def test_up_takes_outputs_and_ends_with_all_its_children(tmp_path: Path) -> None:
    with up(tmp_path, "--contracts", str(DEMO)) as (process, servers):
        sent = handoff("send", str(DEMO / "sales.jsonl"), kafka_bootstrap_servers=servers)
        assert sent.returncode == 0, sent.stderr
        read = handoff(
            *("tail", "packages", "--from-beginning", "--limit", "3", "--timeout", "20"),
            *("--output", "json"),
            kafka_bootstrap_servers=servers,
        )
        found = [json.loads(line) for line in read.stdout.splitlines()]
        dry = handoff("dry-run", "--contracts", str(DEMO), "--backfill", str(DEMO / "sales.jsonl"))
        wanted = [json.loads(line) for line in dry.stdout.splitlines()]
        packages = [each for each in wanted if each["topic"] == "handoff.packages"]
        for each in [*found, *packages]:
            each["value"]["sent_at"] = None  # processing time
        assert sorted(found, key=lambda each: each["key"]) == packages
        # What the feed's transactions leave at its end (a marker each) is nothing to judge.
        both = {
            "1 member in handoff-integrity, 0 records behind",
            "1 member in handoff-insights, 0 records behind",
        }

        def healthy() -> bool:
            looked = handoff("doctor", "--output", "json", kafka_bootstrap_servers=servers)
            assert looked.returncode == 0, looked.stdout
            found = json.loads(looked.stdout)
            return {each["what"] for each in found if each["check"] == "processor"} == both

        until(healthy, 20, "nothing waits for either processor")
        pages = re.search(r"web pages  (http://\S+)", (tmp_path / "up.log").read_text())
        assert pages, "for the free port, too"
        with urllib.request.urlopen(pages[1]) as answer:
            assert answer.read() == b'{"status":"alive"}'

        children = descendants(process.pid)
        assert children
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
        assert gone(children)
    assert [each.name for each in tmp_path.iterdir()] == ["up.log"]


def test_up_that_is_killed_takes_its_children_along(tmp_path: Path) -> None:
    with up(tmp_path) as (process, _servers):
        children = descendants(process.pid)
        assert children
        process.kill()
        process.wait()
        until(lambda: gone(children), 5, "the end of the children")


def test_up_refuses_broken_documents_before_it_starts(tmp_path: Path) -> None:
    broken = tmp_path / "broken.yaml"
    broken.write_text("kind: Nonsense\n")
    result = handoff("up", "--contracts", str(broken))
    assert result.returncode == 2
    assert f"{broken}:1: kind: unknown kind 'Nonsense'" in result.stderr


def test_up_says_that_a_port_is_taken_before_it_starts_anything() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        pages = handoff("up", web_port=port)
        broker = handoff("up", "--port", port, web_port="0")
    assert (pages.returncode, pages.stdout) == (1, "")
    assert f"the web pages cannot listen on 127.0.0.1:{port} (Address already" in pages.stderr
    assert "set HANDOFF_WEB_PORT, 0 for any free port" in pages.stderr
    assert (broker.returncode, broker.stdout) == (1, "")
    assert f"port {port} is taken already" in broker.stderr


def test_instances_say_in_each_line_of_the_log_which_they_are(
    embedded: str, prefix: str, tmp_path: Path
) -> None:
    settings = {
        "kafka_bootstrap_servers": embedded,
        "topic_prefix": prefix,
        "application_id": prefix.rstrip("."),
        "web_port": "0",
    }
    assert handoff("topics", "apply", **settings).returncode == 0
    log = tmp_path / "run.log"
    with log.open("wb") as stream:
        process = subprocess.Popen(
            [*COMMAND, "run", "--instances", "2"],
            env=environment(**settings),
            cwd=tmp_path,
            stdout=stream,
            stderr=stream,
        )
    try:
        until(lambda: log.read_text().count("web pages on") == 2, 30, "the start of both")
    finally:
        process.terminate()
        assert process.wait(30) == 0
    lines = log.read_text().splitlines()
    assert {found[1] for line in lines if (found := re.search(r"INFO instance (\d) ", line))} == {
        "0",
        "1",
    }
    assert [line for line in lines if " instance " not in line] == []


def test_run_without_a_broker_is_one_sentence_and_exit_status_3() -> None:
    result = handoff("run", kafka_bootstrap_servers="127.0.0.1:1", web_port="0")
    assert result.returncode == 3
    assert "127.0.0.1:1" in result.stderr
    assert "Traceback" not in result.stderr
    assert result.stderr.count("\n") == 1
