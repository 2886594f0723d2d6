"""`handoff tail` while its broker is away, comes back, or comes back with another log."""

import signal
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any, cast

import pytest
from click.testing import CliRunner, Result
from confluent_kafka import KafkaError, KafkaException

from console.kafka import Cluster
from console.main import main
from processors.runtime import clients
from processors.runtime.ending import SIGNALS
from processors.runtime.settings import Settings
from topics.look import Seen

TOPIC = "handoff.signals"
WHERE = "the broker at 127.0.0.1:9092"
AWAY = f"{WHERE} does not answer; waiting for it. Look at it with: handoff doctor\n"


class Heard:
    """A message of a consumer: a record, or an error."""

    def __init__(self, code: int | None = None) -> None:
        self._error = None if code is None else KafkaError(code)

    def error(self) -> KafkaError | None:
        return self._error

    def topic(self) -> str:
        return TOPIC

    def partition(self) -> int:
        return 0

    def offset(self) -> int:
        return 0

    def key(self) -> bytes:
        return b"t"

    def value(self) -> bytes:
        return b"{}"

    def timestamp(self) -> tuple[int, int]:
        return 1, 0

    def headers(self) -> None:
        return None


class QuietClient:
    """A consumer to which nothing comes but `heard`, on a clock that only its calls move.

    `asked` says of each question for the topic: None, it is there; an error of the topic; or a
    `KafkaException`, nobody answers. The last one holds for good; SIGTERM comes after `seconds`.
    """

    def __init__(
        self,
        monkeypatch: pytest.MonkeyPatch,
        asked: list[KafkaError | KafkaException | None],
        heard: list[Heard | BaseException] | None = None,
        seconds: float = 60,
    ) -> None:
        self.now = 0.0
        self._asked, self._heard, self._seconds = asked, heard or [], seconds
        cluster = Cluster(Settings(), (1,), cast(Any, None))
        cluster._seen[TOPIC] = Seen({0: 1}, None)
        monkeypatch.setattr(Cluster, "check", lambda *asked: None)
        monkeypatch.setattr("console.commands.tail.connect", lambda: cluster)
        monkeypatch.setattr(clients, "reader", lambda settings: self)
        monkeypatch.setattr("console.kafka.time.monotonic", lambda: self.now)

    def get_watermark_offsets(self, place: Any, timeout: float) -> tuple[int, int]:
        return 0, 0

    def assign(self, places: Any) -> None:
        """Nothing to do."""

    def close(self) -> None:
        """Nothing to do."""

    def poll(self, seconds: float) -> Heard | None:
        if self._heard:
            given = self._heard.pop(0)
            if isinstance(given, BaseException):
                raise given
            return given
        self.now += seconds
        if self.now > self._seconds:
            signal.raise_signal(signal.SIGTERM)
        return None

    def list_topics(self, topic: str, timeout: float) -> Any:
        given = self._asked.pop(0) if len(self._asked) > 1 else self._asked[0]
        if isinstance(given, KafkaException):
            self.now += timeout
            raise given
        return SimpleNamespace(topics={topic: SimpleNamespace(error=given)})


@pytest.fixture(autouse=True)
def ended_alone() -> Iterator[None]:
    """The signal that ends a command ends no other test: what it leaves ignored is put back."""
    before = {number: signal.getsignal(number) for number in SIGNALS}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


SILENT = KafkaException(KafkaError(KafkaError._TRANSPORT))
MISSING = KafkaError(KafkaError.UNKNOWN_TOPIC_OR_PART)


def tail(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["tail", "signals", *arguments])


def test_a_broker_that_is_away_is_told_once_and_so_is_its_return(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    QuietClient(monkeypatch, [None, *[SILENT] * 9, None])
    result = tail()
    assert (result.exit_code, result.stdout) == (0, "")
    assert result.stderr == f"{AWAY}{WHERE} answers again\n"


def test_a_pause_of_a_moment_is_not_told(monkeypatch: pytest.MonkeyPatch) -> None:
    QuietClient(monkeypatch, [None, SILENT, None])
    assert tail().stderr == ""


def test_a_timeout_is_no_quiet_end_where_the_broker_is_away(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    QuietClient(monkeypatch, [SILENT])
    for seconds, before in (("1", ""), ("30", AWAY)):
        result = tail("--timeout", seconds)
        assert result.exit_code == 3
        assert result.stderr == (
            f"{before}handoff: {WHERE} does not answer; look at it with: handoff doctor\n"
        )
    client = QuietClient(monkeypatch, [None])
    assert (tail("--timeout", "10").exit_code, client.now < 11) == (0, True)


def test_the_quiet_seconds_begin_anew_when_the_broker_is_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    client = QuietClient(monkeypatch, [SILENT, None])
    assert tail("--timeout", "6").exit_code == 0
    assert client.now > 10


def test_a_topic_that_is_gone_is_told_when_it_stays_so(monkeypatch: pytest.MonkeyPatch) -> None:
    QuietClient(monkeypatch, [MISSING, None, *[SILENT] * 4, MISSING, None])
    result = tail()
    assert (result.exit_code, "does not exist" in result.stderr) == (0, False)
    QuietClient(monkeypatch, [*[SILENT] * 4, MISSING])
    result = tail()
    assert result.exit_code == 4
    assert result.stderr.endswith(
        f"handoff: the topic {TOPIC} does not exist on 127.0.0.1:9092; "
        "make it with: handoff topics apply\n"
    )


@pytest.mark.parametrize(
    "code",
    [KafkaError._AUTO_OFFSET_RESET, KafkaError._LOG_TRUNCATION, KafkaError.OFFSET_OUT_OF_RANGE],
)
def test_records_that_are_gone_are_not_a_broker_that_is_away(
    monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    QuietClient(monkeypatch, [None], [Heard(), Heard(code)])
    result = tail("--output", "json")
    assert (result.exit_code, result.stdout.count("\n")) == (1, 1)
    assert result.stderr == (
        f"handoff: the records of {TOPIC} that were to come next are not there any more: the topic "
        "was made anew, or they were deleted (retention); start the command again\n"
    )
