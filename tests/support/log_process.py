"""Programs that the tests of the log run as processes of their own.

The adapter comes from a factory that is named `module:function` and
takes the directory. What a program says on standard output is what the test waits for.
"""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path

from connectors.log.port import Entry, Log, TopicPartition

ROOT = Path(__file__).parents[2]


def open_by_name(factory: str, directory: Path) -> Log:
    module, _, function = factory.partition(":")
    made: Log = getattr(import_module(module), function)(directory)
    return made


def say(text: str) -> None:
    print(text, flush=True)


def append(log: Log, topic: str, name: str, count: str) -> None:
    """Appends `count` records to every partition, a few at a time."""
    for number in range(int(count)):
        entries = [
            Entry(n, name.encode(), b"%s:%d" % (name.encode(), number))
            for n in range(log.partitions(topic))
        ]
        log.append_wait(topic, entries)
    say("done")


def append_for_ever(log: Log, topic: str, name: str, size: str) -> None:
    """Appends until it is killed; says each acknowledged number, in hundreds at a time."""
    number = 0

    def acknowledge(first: int) -> Callable[[object], None]:
        def on_durable(result: object) -> None:
            if isinstance(result, Exception):
                raise result
            os.write(1, b"%d\n" % first)

        return on_durable

    filler = b"x" * int(size)
    while True:
        entries = [
            Entry(n, b"%d" % number, b"%d:" % (number + i) + filler)
            for i in range(3)
            for n in range(log.partitions(topic))
        ]
        log.append(topic, entries, acknowledge(number))
        number += 3
        time.sleep(0.0005)


def read(log: Log, topic: str, partition: str, count: str) -> None:
    """Says the value of each of `count` records as it comes."""
    reader = log.reader(TopicPartition(topic, int(partition)), 0)
    left = int(count)
    say("ready")
    while left:
        for record in reader.read(left, 1 << 20):
            say((record.value or b"").decode())
            left -= 1
        time.sleep(0.005)


def append_until_full(log: Log, topic: str, size: str, count: str) -> None:
    """Appends `count` records, says `ok` or the error's name for each."""
    for number in range(int(count)):
        try:
            log.append_wait(topic, [Entry(0, b"%d" % number, b"x" * int(size))])
        except Exception as error:
            say(type(error).__name__)
        else:
            say("ok")


@contextmanager
def running(
    program: str, factory: str, directory: Path, *args: str
) -> Iterator[subprocess.Popen[str]]:
    """The program in a process of its own, killed in the end."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.support.log_process", program, factory, directory, *args],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


def next_line(process: subprocess.Popen[str]) -> str:
    """What the program says next; empty when it has ended."""
    assert process.stdout is not None
    return process.stdout.readline().rstrip("\n")


def main() -> None:
    program, factory, directory, *args = sys.argv[1:]
    log = open_by_name(factory, Path(directory))
    globals()[program](log, *args)
    log.close()


if __name__ == "__main__":
    main()
