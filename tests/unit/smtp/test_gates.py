"""Connections of a site: never more than permits came for, and each permit comes back once."""

import threading
from datetime import timedelta
from random import Random

import pytest

from tests.support.counted_sink import counted_sink
from tests.support.smtp_dns import dns_server
from tests.support.smtp_engine import EngineUnderTest, job, running_engine
from tests.support.smtp_server import Act, Script, scripted
from tests.support.waiting import wait_until


class Giver:
    """Hands jobs out as a lane does: with a permit where no connection that it knows is free."""

    def __init__(self, engine: EngineUnderTest, most: int, **job_changes) -> None:
        self._engine = engine
        self._changes = job_changes
        self.most = most
        self.held = 0
        self.sent = 0
        self._seen = 0
        self._freed = 0

    def step(self, port: int, wanted: int) -> int:
        """Takes in what the engine said, and sends what may go; how many permits are held."""
        working = self.working
        for _, count in self._engine.free[self._freed :]:
            self._freed += 1
            self.held -= min(count, self.held - working)
        for _ in range(wanted):
            if self.working == self.most:
                break
            permits = int(self.working == self.held)
            self.held += permits
            self.sent += 1
            self._engine.submit(job(port, permits=permits, **self._changes))
        return self.held

    @property
    def working(self) -> int:
        return self.sent - len(self._engine.results)


@pytest.mark.parametrize("seed", range(3))
def test_never_more_connections_than_permits_and_all_come_back(seed):
    random = Random(seed)
    pause = threading.Event()
    soon = timedelta(seconds=0.02)
    with (
        counted_sink(0.002) as sink,
        running_engine(idle_timeout=soon, messages_per_session=3) as engine,
    ):
        giver = Giver(engine, 3)
        while giver.sent < 300:
            giver.step(sink.port, random.choice([0, 1, 5]))
            pause.wait(random.choice([0, 0.001, 0.03]))
        wait_until(lambda: len(engine.results) == giver.sent, 10, "all results")
        wait_until(lambda: not giver.step(sink.port, 0), 10, "all permits")
        assert engine.engine.open_sessions() == 0
    assert all(result.accepted for _, result in engine.results)
    assert sink.taken.total() == giver.sent
    assert sink.most_open <= 3


def test_permits_come_back_where_no_connection_was_made():
    with running_engine() as engine:
        engine.send(job(1), job(1))  # nobody listens there
        wait_until(lambda: len(engine.free) == 2, 5, "both permits")
    assert {count for _, count in engine.free} == {1}


@pytest.mark.parametrize("banner", ["554 5.3.2 no", Act.CLOSE])
@pytest.mark.parametrize("most", [0, 1])
def test_a_permit_covers_all_hosts_that_a_job_tries_or_the_one_that_it_may_try(banner, most):
    zone = {
        ("a.test", "MX"): ["1 one.test.", "2 two.test."],
        ("one.test", "A"): ["127.0.0.1"],
        ("two.test", "A"): ["127.0.0.1"],
    }
    with (
        dns_server(zone) as names,
        scripted(Script(banner=banner)) as server,
        running_engine(
            nameservers=("127.0.0.1",),
            nameserver_port=names.port,
            allow_private_mx=True,
            port=server.port,
        ) as engine,
    ):
        engine.send(job(None, domain="a.test", most_connections=most))
        wait_until(lambda: engine.free, 5, "the permit")
        assert [count for _, count in engine.free] == [1]
    assert len(server.connections) == (most or 2)


def test_a_job_without_a_permit_waits_for_the_connection_that_it_was_promised():
    with scripted() as server, running_engine() as engine:
        engine.hold = True
        engine.submit(job(server.port))
        engine.wait_for(1)
        engine.submit(job(server.port, permits=0))
        # The engine counts two jobs, and so two permits: what it had given back is taken back.
        engine.wait_for(2)
        for future in engine.held:
            future.set_result(None)
        engine.settled()
    assert len(server.connections) == 2


def test_sessions_without_a_message_end_when_they_are_let_go_of():
    with scripted() as server, running_engine() as engine:
        engine.send(job(server.port))
        assert engine.free == []
        engine.engine.let_go(engine.results[0][0].site)
        wait_until(lambda: engine.free, 5, "the permit")
    assert server.connections[0].lines[-1] == "QUIT"


def test_a_job_says_how_many_messages_its_connection_takes_and_how_long_it_is_kept():
    with scripted() as server, running_engine() as engine:
        engine.send(*(job(server.port, most_messages=2) for _ in range(4)))
        assert [len(connection.messages) for connection in server.connections] == [2, 2]
        engine.send(job(server.port, idle_s=0.05))
        wait_until(lambda: engine.engine.open_sessions() == 0, 2, "the idle session to end")
