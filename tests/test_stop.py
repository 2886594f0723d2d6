"""Whatever is judged, and however long it takes: web pages answer, and a stop is obeyed."""

import signal
import threading
import time

from processors.driver import Driver
from processors.runtime.app import STOP_SECONDS
from processors.runtime.assignment import Assignment
from processors.runtime.batch import Batch, Worker
from processors.runtime.settings import Settings
from processors.runtime.status import LaneStatus
from schemas.flow import Output, Record
from tests.lanes import Bench, Instance, wait_for
from tests.toy import Tally, toy


def busy(bench: Bench, records: int, each: str) -> Instance:
    """An instance that judges records which take long."""
    bench.create()
    instance = bench.start().ready()
    bench.send("before")
    bench.flush()
    bench.check_outputs()
    for n in range(records):
        bench.producer.produce(f"{bench.prefix}in0", each.encode(), f"k{n}".encode(), 0)
    bench.flush()
    wait_for(lambda: " is busy" in instance.log, 20, "the first of them is judged")
    assert instance.page("/healthz") == (200, '{"status":"alive"}')
    assert instance.page("/metrics")[0] == 200
    return instance


def test_a_stop_is_obeyed_while_one_record_takes_long(bench: Bench) -> None:
    instance = busy(bench, 1, "busy:60")
    began = time.monotonic()
    instance.signal(signal.SIGTERM)
    assert instance.wait(STOP_SECONDS + 10) == 1
    # Three seconds at most for the web pages to close; and the machine may be busy.
    assert time.monotonic() - began < STOP_SECONDS + 6
    assert "a lane did not settle in time; its open transaction is aborted" in instance.log
    bench.check_outputs()  # nothing of what was under way


def test_a_stop_is_obeyed_while_many_records_take_long(bench: Bench) -> None:
    """Their batch is cut, what is judged is committed, and the others come again."""
    instance = busy(bench, 600, "busy:0.1")
    began = time.monotonic()
    instance.signal(signal.SIGTERM)
    assert instance.wait(STOP_SECONDS + 10) == 0
    assert time.monotonic() - began < STOP_SECONDS + 6


def record(offset: int) -> Record:
    return Record("t.in0", 0, offset, b"k", b"x", 0, [])


def test_a_batch_that_its_lane_gave_up_ends_with_the_record_under_way() -> None:
    processor = toy("t.")
    driver: Driver[Tally] = Driver(processor, {"t.facts": {}})
    driver.assign(0, {})
    entered, leave = threading.Event(), threading.Event()

    def work(outputs: list[Output]) -> None:
        for number in range(1_000):
            outputs += driver.step(record(number), 0)
            entered.set()
            leave.wait(20)

    worker, given_up, next_one = Worker("judge"), Batch(work), Batch(lambda outputs: None)
    worker.give(given_up)
    assert entered.wait(20)
    unused: object = None
    assignment = Assignment(
        Settings(),
        processor,
        driver=driver,
        consumer=unused,  # type: ignore[arg-type]
        admin=unused,  # type: ignore[arg-type]
        status=LaneStatus("toy"),
        beat=lambda: None,
        stopping=lambda: False,
    )
    assignment.close()
    worker.give(next_one)  # of the lane that comes after it
    next_one.done.result(20)
    assert not given_up.done.done()
    leave.set()
    assert isinstance(given_up.done.exception(20), KeyError)
    assert len(given_up.outputs) == 1


def test_batches_of_one_lane_run_in_one_thread() -> None:
    worker, seen = Worker("judge"), set()
    for _ in range(50):
        batch = Batch(lambda outputs: seen.add(threading.current_thread()))
        worker.give(batch)
        batch.done.result(20)
    (thread,) = seen
    assert thread.daemon
    assert thread.is_alive()
