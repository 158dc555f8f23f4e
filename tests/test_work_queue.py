"""Work beside the main thread: order, errors in either thread, nothing running once the block has been left."""

from __future__ import annotations

import threading
import time
from functools import partial

import pytest

from etam_onnx.cli.work_queue import WorkQueue


def test_calls_are_made_in_order_by_another_thread_and_all_are_done_at_the_end() -> None:
    done: list[tuple[int, int]] = []
    with WorkQueue(2) as queue:
        for number in range(50):
            queue.put(lambda number=number: done.append((number, threading.get_ident())))
    assert [number for number, _ in done] == list(range(50))
    assert {thread for _, thread in done} != {threading.get_ident()}
    assert len({thread for _, thread in done}) == 1


def test_no_more_calls_wait_than_the_depth() -> None:
    gate, put = threading.Event(), []

    def fill(queue: WorkQueue) -> None:
        for number in range(6):
            queue.put(gate.wait)
            put.append(number)

    with WorkQueue(2) as queue:
        filler = threading.Thread(target=fill, args=(queue,))
        filler.start()
        time.sleep(0.3)
        assert len(put) <= 3  # one is being made, two wait
        gate.set()
        filler.join()
    assert put == list(range(6))


def test_an_error_is_raised_at_the_end_and_nothing_after_it_is_done() -> None:
    done: list[int] = []

    def fail() -> None:
        raise OSError("the disk is full")

    with pytest.raises(OSError, match="the disk is full"), WorkQueue(8) as queue:
        gate = threading.Event()
        queue.put(gate.wait)
        queue.put(partial(done.append, 1))
        queue.put(fail)
        queue.put(partial(done.append, 2))
        gate.set()
    assert done == [1]


def test_an_error_is_raised_by_a_later_put_so_that_tracking_stops() -> None:
    tracked = 0
    with pytest.raises(OSError, match="the disk is full"), WorkQueue(2) as queue:
        while True:

            def fail() -> None:
                raise OSError("the disk is full")

            queue.put(fail)
            tracked += 1
            assert tracked < 1000
            time.sleep(0.01)


def test_a_block_left_early_drops_what_waits_and_finishes_what_runs() -> None:
    running, done = threading.Event(), []

    def slow() -> None:
        running.set()
        time.sleep(0.2)
        done.append("slow")

    with pytest.raises(KeyboardInterrupt), WorkQueue(3) as queue:
        queue.put(slow)
        queue.put(partial(done.append, "waiting"))
        running.wait()
        raise KeyboardInterrupt
    assert done == ["slow"]
    assert not queue._thread.is_alive()


def test_the_callers_error_is_not_replaced_by_one_of_the_queue() -> None:
    def fail() -> None:
        raise OSError("the disk is full")

    with pytest.raises(ValueError, match="the object is gone"), WorkQueue(3) as queue:
        queue.put(fail)
        raise ValueError("the object is gone")
