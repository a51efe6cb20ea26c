"""Where the processes of a Bytewax cluster wait for each other."""

import multiprocessing
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, suppress

import pytest

from connectors.log.meeting import meet
from connectors.log.peers import Place
from sealwax.errors import ConfigurationError
from tests.support.kafka import free_ports
from tests.support.waiting import wait_until

SPAWNED = multiprocessing.get_context("spawn")


class Meeting:
    """Processes of a cluster of three on their way."""

    def __init__(self) -> None:
        self._addresses = tuple(f"127.0.0.1:{port}" for port in free_ports(3))
        self._all: list[multiprocessing.process.BaseProcess] = []

    def comes(self, index: int, stage: int = 1) -> "multiprocessing.process.BaseProcess":
        one = SPAWNED.Process(target=meet, args=(Place(index, self._addresses), stage))
        one.start()
        self._all.append(one)
        return one

    def end(self) -> None:
        for one in self._all:
            one.kill()
            one.join()

    def knocked_at(self) -> socket.socket | None:
        """A connection to where they meet, once somebody listens there."""
        host, _, port = self._addresses[0].partition(":")
        with suppress(ConnectionRefusedError):
            return socket.create_connection((host, int(port)))
        return None


@pytest.fixture
def meeting() -> Iterator[Meeting]:
    made = Meeting()
    yield made
    made.end()


def through(*processes: "multiprocessing.process.BaseProcess") -> None:
    for one in processes:
        one.join(60)
    assert [one.exitcode for one in processes] == [0] * len(processes)


def wait(*processes: "multiprocessing.process.BaseProcess") -> None:
    """For as long as they would take to go on."""
    threading.Event().wait(2)
    assert [one.exitcode for one in processes] == [None] * len(processes)


def test_all_go_on_when_the_last_one_comes(meeting):
    third, second = meeting.comes(2), meeting.comes(1)
    wait(third, second)
    first = meeting.comes(0)
    through(first, second, third)


def test_one_that_was_killed_meanwhile_is_waited_for_again(meeting):
    first, second = meeting.comes(0), meeting.comes(1)
    wait(first, second)
    second.kill()
    second.join()
    third = meeting.comes(2)
    wait(first, third)
    through(first, meeting.comes(1), third)


def test_a_first_one_that_was_killed_is_waited_for_again(meeting):
    first, second = meeting.comes(0), meeting.comes(1)
    wait(first, second)
    first.kill()
    first.join()
    third = meeting.comes(2)
    wait(second, third)
    through(meeting.comes(0), second, third)


def test_a_first_one_that_begins_again_finds_the_others_further_on(meeting):
    second, third = meeting.comes(1, stage=2), meeting.comes(2, stage=2)
    through(meeting.comes(0, stage=1))
    wait(second, third)
    through(meeting.comes(0, stage=2), second, third)


def test_one_that_begins_again_is_let_through_to_those_that_wait_further_on(meeting):
    first, second = meeting.comes(0, stage=2), meeting.comes(1, stage=2)
    through(meeting.comes(2, stage=1))
    wait(first, second)
    through(meeting.comes(2, stage=2), first, second)


def test_strangers_do_not_count(meeting):
    first, second = meeting.comes(0), meeting.comes(1)
    wait(first, second)
    with ExitStack() as stack:
        for words in (b"", b"GET / HTTP/1.1\r\n\r\n", b"sealwax 1 7\n", b"sealwax 1 0\n"):
            stranger = stack.enter_context(wait_until(meeting.knocked_at, 20, "the lobby"))
            stranger.sendall(words)
        wait(first, second)
    through(meeting.comes(2), first, second)


def test_an_address_of_another_machine_is_one_sentence():
    with pytest.raises(ConfigurationError, match=r"cannot listen at 192\.0\.2\.1:2101 \(-a\): "):
        meet(Place(0, ("192.0.2.1:2101", "192.0.2.2:2101")), 1)


def test_without_a_cluster_nobody_is_waited_for():
    meet(Place(), 1)
