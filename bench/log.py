"""Figures of the embedded log: `python bench/log.py [directory]`.

Each figure is the median of several rounds on a fresh log with 4 partitions.
"""

import os
import platform
import shutil
import sqlite3
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from functools import partial
from multiprocessing import get_context
from multiprocessing.queues import Queue
from pathlib import Path

from connectors.log import LogSettings, open_log
from connectors.log.port import Committed, Entry, Log, TopicPartition
from sealwax.model.topics import ALL, EVENTS, TopicSpec

TOPIC = "bench"
VALUE = os.urandom(5_000)
HEADERS = (("src", b"email.ready.transactional/3/1234567"), ("email-id", b"0" * 36))
ROUNDS = 5


def fresh(folder: Path) -> Log:
    shutil.rmtree(folder, ignore_errors=True)
    log = open_log(LogSettings(folder))
    log.create_topics([TopicSpec(TOPIC)])
    return log


def entry(number: int, value: bytes = VALUE) -> Entry:
    return Entry(number % 4, b"example.test", value, HEADERS)


class Window:
    """At most `size` appends of a producer wait at a time."""

    def __init__(self, size: int) -> None:
        self._free = threading.Semaphore(size)

    def append(self, log: Log, entries: list[Entry]) -> None:
        self._free.acquire()
        log.append(TOPIC, entries, self._done)

    def drain(self, size: int) -> None:
        for _ in range(size):
            self._free.acquire()

    def _done(self, result: object) -> None:
        assert not isinstance(result, Exception)
        self._free.release()


def producers(
    log: Log, threads: int, calls: int, per_call: int, window: int
) -> tuple[float, float]:
    """Records/s, and CPU microseconds a record of the whole process."""

    def run(number: int) -> None:
        waiting = Window(window)
        entries = [entry(number + i) for i in range(per_call)]
        for _ in range(calls):
            waiting.append(log, entries)
        waiting.drain(window)

    running = [threading.Thread(target=run, args=(n,)) for n in range(threads)]
    start_s, cpu_s = time.perf_counter(), time.process_time()
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    records = threads * calls * per_call
    elapsed_s, cpu_s = time.perf_counter() - start_s, time.process_time() - cpu_s
    return records / elapsed_s, cpu_s / records * 1e6


def latencies_ms(log: Log, count: int) -> list[float]:
    taken = []
    for number in range(count):
        start_s = time.perf_counter()
        log.append_wait(TOPIC, [entry(number)])
        taken.append((time.perf_counter() - start_s) * 1e3)
    return sorted(taken)


def spin(end: threading.Event) -> None:
    while not end.is_set():
        sum(range(1_000))


def per_call_us(call: Callable[[], object], count: int) -> float:
    start_s = time.perf_counter()
    for _ in range(count):
        call()
    return (time.perf_counter() - start_s) / count * 1e6


def medians(title: str, unit: str, figures: list[tuple[float, float]]) -> None:
    rate = statistics.median(f[0] for f in figures)
    cpu = statistics.median(f[1] for f in figures)
    print(f"{title:<64} {rate:>10,.0f} {unit}  {cpu:6.1f} us CPU a record")


def appending(folder: Path) -> None:
    for title, threads, calls, per_call, window in (
        ("4 producers, 1 record a call, 64 calls waiting each", 4, 10_000, 1, 64),
        ("4 producers, 100 records a call, 4 calls waiting each", 4, 100, 100, 4),
        ("4 producers that wait for each record", 4, 1_000, 1, 1),
    ):
        figures = []
        for _ in range(ROUNDS):
            log = fresh(folder)
            figures.append(producers(log, threads, calls, per_call, window))
            log.close()
        medians(title, "records/s", figures)
    log = fresh(folder)
    for busy in (False, True):
        end = threading.Event()
        spinner = threading.Thread(target=spin, args=(end,))
        if busy:
            spinner.start()
        taken = latencies_ms(log, 4_000 if not busy else 200)
        end.set()
        title = "append_wait, 1 record" + (", beside a thread that computes" if busy else "")
        p50, p99, worst = taken[len(taken) // 2], taken[len(taken) * 99 // 100], taken[-1]
        print(f"{title:<64} p50 {p50:.2f} ms  p99 {p99:.2f} ms  worst {worst:.1f} ms")
    log.close()


def _write(folder: Path, count: int, results: "Queue[list[float]]") -> None:
    log = open_log(LogSettings(folder))
    results.put(latencies_ms(log, count))
    log.close()


def writers(folder: Path) -> None:
    """Processes that append to one topic, each waiting for each record."""
    spawn = get_context("spawn")
    for number in (1, 2, 3, 4):
        fresh(folder).close()
        results: Queue[list[float]] = spawn.Queue()
        processes = [
            spawn.Process(target=_write, args=(folder, 1_500, results)) for _ in range(number)
        ]
        for process in processes:
            process.start()
        taken = sorted(ms for _ in processes for ms in results.get())
        for process in processes:
            process.join()
        p50, p99, worst = taken[len(taken) // 2], taken[len(taken) * 99 // 100], taken[-1]
        title = f"append_wait, 1 record, {number} processes at once"
        print(f"{title:<64} p50 {p50:.2f} ms  p99 {p99:.2f} ms  worst {worst:.1f} ms")


def reading(folder: Path) -> None:
    log = fresh(folder)
    producers(log, 4, 100, 100, 4)
    figures = []
    for _ in range(ROUNDS):
        readers = [log.reader(TopicPartition(TOPIC, n), 0) for n in range(4)]
        start_s, cpu_s, records = time.perf_counter(), time.process_time(), 0
        for reader in readers:
            while batch := reader.read(200, 4 * 1024 * 1024):
                records += len(batch)
        elapsed_s, cpu_s = time.perf_counter() - start_s, time.process_time() - cpu_s
        figures.append((records / elapsed_s, cpu_s / records * 1e6))
    medians("reading 40,000 records, 200 a call", "records/s", figures)
    idle = statistics.median(
        per_call_us(lambda: reader.read(200, 1 << 22), 100_000) for _ in range(ROUNDS)
    )
    print(f"{'read with nothing new':<64} {idle:10.2f} us")
    log.append_wait(TOPIC, [entry(3)])
    tp = TopicPartition(TOPIC, 3)
    print(f"{'end_offset':<64} {per_call_us(lambda: log.end_offset(tp), 20_000):10.2f} us")

    reader.read(10_000, 1 << 30)
    taken = []
    for _ in range(2_000):
        log.append_wait(TOPIC, [entry(3)])
        start_s = time.perf_counter()
        assert len(reader.read(200, 1 << 22)) == 1
        taken.append((time.perf_counter() - start_s) * 1e6)
    print(f"{'read of one new record':<64} {statistics.median(taken):10.2f} us")
    log.close()


def committing(folder: Path) -> None:
    log = fresh(folder)
    log.create_topics(ALL)
    positions = {
        TopicPartition(f"{EVENTS}.{n // 4}", n % 4): Committed(n, "A" * 60) for n in range(48)
    }
    for durable in (True, False):
        commit = partial(log.commit, "dispatch", positions, durable=durable)
        cost = per_call_us(commit, 500)
        print(f"{f'commit of 48 positions, durable={durable}':<64} {cost:10.0f} us")
    log.close()


def main() -> None:
    folder = Path(tempfile.mkdtemp(dir=sys.argv[1] if len(sys.argv) > 1 else None)) / "log"
    print(
        f"{platform.machine()}, {os.cpu_count()} cores, Linux {platform.release()}, "
        f"Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}, {ROUNDS} rounds, "
        f"values of {len(VALUE)} bytes"
    )
    appending(folder)
    writers(folder)
    reading(folder)
    committing(folder)
    shutil.rmtree(folder.parent)


if __name__ == "__main__":
    main()
