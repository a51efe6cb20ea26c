"""Programs that the tests of the log run as processes of their own.

The adapter comes from a factory that is named `module:function` and
takes the directory. What a program says on standard output is what the test waits for.
"""

import os
import resource
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from importlib import import_module
from itertools import count
from pathlib import Path

import structlog

from connectors.log.port import Entry, Log, TopicPartition

ROOT = Path(__file__).parents[2]


def open_by_name(factory: str, directory: Path) -> Log:
    module, _, function = factory.partition(":")
    made: Log = getattr(import_module(module), function)(directory)
    return made


def say(text: str) -> None:
    print(text, flush=True)


def append(log: Log, topic: str, name: str, number_of: str) -> None:
    """Appends so many records to every partition, one at a time."""
    for number in range(int(number_of)):
        entries = [
            Entry(n, name.encode(), b"%s:%d" % (name.encode(), number))
            for n in range(log.partitions(topic))
        ]
        log.append_wait(topic, entries)
    say("done")


def append_for_ever(log: Log, topic: str, name: str, size: str) -> None:
    """Appends until it is killed; says the number of each append once it is durable.

    The append `number` has three records for every partition, with key and value `name:number:i`,
    the value followed by `size` bytes.
    """
    filler = b"x" * int(size)
    for number in count():
        entries = [
            Entry(partition, key, key + filler)
            for i in range(3)
            for partition in range(log.partitions(topic))
            for key in (b"%s:%d:%d" % (name.encode(), number, i),)
        ]
        log.append(topic, entries, partial(_acknowledge, number))
        time.sleep(0.0005)


def _acknowledge(number: int, result: Sequence[int] | Exception) -> None:
    if isinstance(result, Exception):
        raise result
    os.write(1, b"%d\n" % number)


def read(log: Log, topic: str, partition: str, number_of: str) -> None:
    """Says the value of each of so many records as it comes."""
    reader = log.reader(TopicPartition(topic, int(partition)), 0)
    left = int(number_of)
    say("ready")
    while left:
        for record in reader.read(left, 1 << 20):
            say((record.value or b"").decode())
            left -= 1
        time.sleep(0.005)


def append_under_a_file_limit(log: Log, topic: str, limit_bytes: str) -> None:
    """Appends until files may not grow any more, then lifts the limit and appends once again.

    Says how many were acknowledged, the error's name, and the last one's offset.
    """
    log.append_wait(topic, [Entry(0, None, b"x" * 10_000)])
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(limit_bytes), hard))
    for number in count(1):
        try:
            log.append_wait(topic, [Entry(0, None, b"x" * 10_000)])
        except OSError as error:
            say(str(number))
            say(type(error).__name__)
            break
    resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    say(str(log.append_wait(topic, [Entry(0, None, b"last")])[0]))


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


def the_rest(process: subprocess.Popen[str]) -> str:
    """What a program that has ended said and nobody read."""
    assert process.stdout is not None
    return process.stdout.read()


def main() -> None:
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    program, factory, directory, *args = sys.argv[1:]
    log = open_by_name(factory, Path(directory))
    globals()[program](log, *args)
    log.close()


if __name__ == "__main__":
    main()
