"""A command that is asked to end, at any step and more than once; and one whom nobody reads.

A signal comes at a named step of the work, and not after a time.
"""

import asyncio
import os
import signal
import subprocess
import sys
import tempfile
import weakref
from collections.abc import Iterator
from pathlib import Path

import pytest

from console.folder import temporary
from processors.runtime.ending import SIGNALS, Ended, Ending
from tests.commands import HandoffCommand
from tests.test_console_running import DEMO, descendants, environment, gone, until

TERM, INT, HUP = signal.SIGTERM, signal.SIGINT, signal.SIGHUP


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    """What the tests change of this process is put back."""
    before = {number: signal.getsignal(number) for number in SIGNALS}
    for number in SIGNALS:  # whoever started the tests may have them ignored
        signal.signal(number, signal.default_int_handler)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


# --- the note -----------------------------------------------------------------------------------


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_is_noted_and_ends_nothing_by_itself(number: signal.Signals) -> None:
    with Ending() as ending:
        assert not ending.wait(0)
        ending.check()
        signal.raise_signal(number)
        assert ending.wait()
        assert ending.wait(), "it stays so"
        with pytest.raises(Ended) as ended:
            ending.check()
    assert ended.value.code == 128 + number


def test_the_first_signal_counts_and_later_ones_change_nothing_until_the_process_is_gone() -> None:
    with Ending() as ending:
        signal.raise_signal(HUP)
        for _ in range(70_000):  # more than the pipe takes
            signal.raise_signal(TERM)
        with pytest.raises(Ended) as ended:
            ending.check()
    for number in SIGNALS:
        signal.raise_signal(number)
    assert ended.value.code == 128 + HUP


def test_without_a_signal_all_is_as_before() -> None:
    before = [signal.getsignal(number) for number in SIGNALS]
    with Ending():
        assert [signal.getsignal(number) for number in SIGNALS] != before
    assert [signal.getsignal(number) for number in SIGNALS] == before


def test_what_nohup_and_a_shell_ignore_stays_ignored() -> None:
    signal.signal(HUP, signal.SIG_IGN)
    signal.signal(INT, signal.SIG_IGN)
    with Ending() as ending:
        signal.raise_signal(HUP)
        signal.raise_signal(INT)
        assert not ending.asked
        signal.raise_signal(TERM)
        assert ending.asked


def test_a_signal_is_not_lost_where_python_forgets_exceptions() -> None:
    class Client:
        pass

    with Ending() as ending:
        client = Client()
        weakref.finalize(client, signal.raise_signal, TERM)
        del client
        assert ending.asked


def test_an_event_loop_can_wait_for_it() -> None:
    async def waiting(ending: Ending) -> None:
        seen = asyncio.Event()
        loop = asyncio.get_running_loop()
        loop.add_reader(ending, seen.set)
        loop.call_soon(signal.raise_signal, TERM)
        await asyncio.wait_for(seen.wait(), 20)
        loop.remove_reader(ending)

    with Ending() as ending:
        asyncio.run(waiting(ending))
        assert ending.asked


# --- the program --------------------------------------------------------------------------------

# Sends itself a signal when the places in its first argument are called, once before and once after
# each; with `~` when the Kafka client that comes back is given up.
_PROGRAM = """
import functools, importlib, signal, sys, weakref
from console.__main__ import start

def signalling(call, number, given_up):
    @functools.wraps(call)
    def called(*arguments, **named):
        if given_up:
            made = call(*arguments, **named)
            weakref.finalize(made.admin, signal.raise_signal, number)
            return made
        signal.raise_signal(number)
        made = call(*arguments, **named)
        signal.raise_signal(number)
        return made
    return called

for place in sys.argv.pop(1).split(","):
    where, number = place.split("=")
    module, path = where.strip("~").split(":")
    owner = importlib.import_module(module)
    *within, name = path.split(".")
    for each in within:
        owner = getattr(owner, each)
    given_up = where.endswith("~")
    setattr(owner, name, signalling(getattr(owner, name), int(number), given_up))
start()
"""


def ended(
    directory: Path, places: str, *arguments: str, **settings: str
) -> tuple[int, str, list[str]]:
    """Run a command that gets signals at `places`. Returns its exit status, what it wrote to
    standard error, and the names of the files that it left; none of its processes is left."""
    process = subprocess.Popen(
        [sys.executable, "-c", _PROGRAM, places, *arguments],
        env=environment(web_port="0", console_port="0", **settings) | {"TMPDIR": str(directory)},
        cwd=directory,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    seen: set[int] = set()
    while True:
        seen |= descendants(process.pid)
        try:
            _, err = process.communicate(timeout=0.05)
        except subprocess.TimeoutExpired:
            continue
        break
    until(lambda: gone(seen), 10, "the end of the children")
    return process.returncode, err, [each.name for each in directory.iterdir()]


# While it is cleared up, somebody asks once more.
AGAIN = "console.brokers:EmbeddedBroker.stop=15"


@pytest.mark.embedded
@pytest.mark.parametrize(
    ("place", "number"),
    [
        ("console.brokers:_listens", TERM),
        ("console.demo.play:make_topics", INT),
        ("console.kafka:connect~", TERM),
        ("console.demo.play:register_contracts", HUP),
        ("console.demo.play:connect~", TERM),
        ("console.demo.play:_Processor.__enter__", TERM),
        ("asyncio:run", INT),
        ("console.demo.stage:DemoStage.play", TERM),
    ],
)
def test_a_demo_that_is_ended_at_any_step_leaves_nothing(
    tmp_path: Path, place: str, number: signal.Signals
) -> None:
    assert ended(tmp_path, f"{place}={number:d},{AGAIN}", "demo") == (128 + number, "", [])


@pytest.mark.embedded
@pytest.mark.parametrize(
    ("place", "number"),
    [
        ("console.brokers:_listens", INT),
        ("console.commands.running:make_topics", TERM),
        ("web.serving:listen", HUP),
        ("processors.runtime.lane_supervisor:LaneSupervisor.start", TERM),
    ],
)
def test_up_that_is_ended_at_any_step_leaves_nothing(
    tmp_path: Path, place: str, number: signal.Signals
) -> None:
    status, err, left = ended(tmp_path, f"{place}={number:d},{AGAIN}", "up")
    assert (status, left) == (0, [])
    assert all(" INFO " in line for line in err.splitlines()), err


@pytest.mark.embedded
def test_a_console_that_is_ended_while_it_starts_leaves_nothing(
    embedded: str, tmp_path: Path
) -> None:
    place = "web.serving:listen=1,web.model.builder:Builder.stop=2"
    settings = {"kafka_bootstrap_servers": embedded}
    assert ended(tmp_path, place, "console", **settings) == (0, "", [])


@pytest.mark.parametrize("number", [TERM, INT])
def test_a_signal_while_the_libraries_are_loaded_ends_the_program_without_a_word(
    number: signal.Signals,
) -> None:
    program = (
        "import signal, sys\n"
        "from console.__main__ import start\n"
        "class Loading:\n"
        "    def find_spec(self, name, *_):\n"
        "        if name == 'console.commands':\n"
        f"            signal.raise_signal({number:d})\n"
        "sys.meta_path.insert(0, Loading())\n"
        "start()\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (-number, b"", b"")


# --- standard output, and folders ---------------------------------------------------------------

LINT = ("contracts", "lint", str(DEMO))
DRY_RUN = ("dry-run", "--contracts", str(DEMO / "sales.yaml"), str(DEMO / "sales.jsonl"))
WRITERS = [LINT, (*DRY_RUN, "--show"), (*DRY_RUN, "--no-show"), ("--help",), ("tail", "--help")]


@pytest.mark.parametrize("arguments", WRITERS, ids=lambda each: " ".join((each[0], each[-1])))
def test_a_reader_that_is_gone_is_no_failure(arguments: tuple[str, ...]) -> None:
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, "-m", "console", *arguments]
    done = subprocess.run(
        command, env=environment(), stdout=write, stderr=subprocess.PIPE, check=False
    )
    os.close(write)
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.embedded
def test_a_demo_whose_reader_goes_ends_and_leaves_nothing(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "console", "demo"],
        env=environment() | {"TMPDIR": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    assert process.stdout.readline().startswith(b"Starting")
    process.stdout.close()
    err = process.stderr.read()
    process.stderr.close()
    assert (process.wait(60), err, list(tmp_path.iterdir())) == (0, b"", [])


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has a full device")
@pytest.mark.parametrize("arguments", WRITERS, ids=lambda each: " ".join((each[0], each[-1])))
def test_a_full_disk_is_said_in_a_sentence(arguments: tuple[str, ...]) -> None:
    command = [sys.executable, "-m", "console", *arguments]
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            command, env=environment(), stdout=full, stderr=subprocess.PIPE, check=False, text=True
        )
    assert done.returncode == 1
    assert done.stderr.startswith("handoff: standard output or a file in ")
    assert done.stderr.endswith(
        " cannot be written: No space left on device; make room there, and run it again\n"
    )
    assert done.stderr.count("\n") == 1


def test_a_temporary_folder_is_gone_in_the_end() -> None:
    with temporary("handoff-test") as folder:
        (folder / "file").write_text("text")
        assert folder.name.startswith("handoff-test-")
    assert not folder.exists()


def test_where_no_temporary_folder_can_be_made_a_sentence_says_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", "/proc/nowhere")
    result = HandoffCommand("127.0.0.1:1", "t.")("demo")
    assert result.exit_code == 1
    assert "handoff: no temporary folder can be made: No such file or directory; make room" in (
        result.stderr
    )
