"""The engine: reuse, strict acknowledgement, drain, and death."""

import subprocess
import sys
import time
from datetime import timedelta

import pytest

from sealwax import clock
from sealwax.model.reply import Command
from tests.support.smtp_engine import PATIENT, job, running_engine
from tests.support.smtp_server import Act, Bye, Script, scripted
from tests.support.waiting import wait_until


def test_session_is_reused_up_to_its_limit():
    with scripted() as server, running_engine(messages_per_session=2) as engine:
        results = engine.send(*(job(server.port) for _ in range(5)))
    assert [result.reused for result in results] == [False, True, False, True, False]
    assert [len(connection.messages) for connection in server.connections] == [2, 2, 1]
    assert [connection.lines[-1] for connection in server.connections] == ["QUIT"] * 3


def test_idle_session_is_closed_after_its_time():
    with scripted() as server, running_engine(idle_timeout=timedelta(seconds=0.2)) as engine:
        engine.send(job(server.port))
        assert engine.engine.open_sessions() == 1
        wait_until(lambda: engine.engine.open_sessions() == 0, 5, "the idle session to end")
        assert server.connections[0].lines[-1] == "QUIT"


@pytest.mark.parametrize("last_words", ["", "421 4.4.2 idle too long"])
def test_session_that_the_peer_closed_is_replaced(last_words):
    with scripted() as server, running_engine() as engine:
        engine.send(job(server.port))
        server.drop(0, last_words)
        wait_until(lambda: engine.engine.open_sessions() == 0, 5, "the close to be seen")
        (result,) = engine.send(job(server.port))
    assert result.accepted
    assert not result.reused


@pytest.mark.parametrize(
    "answer", [Act.CLOSE, Act.SILENCE, Bye("421 4.7.0 enough on this connection")]
)
def test_kept_session_that_does_not_answer_mail_is_replaced_once(answer):
    with scripted(Script(mail=("250 2.1.0 ok", answer))) as server, running_engine() as engine:
        first, second = engine.send(job(server.port), job(server.port))
    assert first.accepted
    assert second.accepted
    assert not second.reused
    assert len(server.connections) == 2
    assert len(server.messages) == 2


def test_new_session_that_does_not_answer_mail_is_not_replaced():
    with scripted(Script(mail=Act.CLOSE)) as server, running_engine() as engine:
        (result,) = engine.send(job(server.port))
    assert result.reply.command is Command.MAIL
    assert len(server.connections) == 1


def test_session_takes_no_other_message_before_the_outcome_is_durable():
    with scripted() as server, running_engine() as engine:
        engine.hold = True
        engine.submit(job(server.port))
        engine.wait_for(1)
        engine.submit(job(server.port))
        engine.wait_for(2)
        assert [result.reused for _, result in engine.results] == [False, False]
        assert engine.engine.busy() == 2
        for future in engine.held:
            future.set_result(None)
        engine.settled()
        engine.submit(job(server.port))
        engine.wait_for(3)
        assert engine.results[2][1].reused
        engine.held[2].set_result(None)
    assert len(server.connections) == 2


def test_session_whose_outcome_was_not_stored_is_ended():
    with scripted() as server, running_engine() as engine:
        engine.hold = True
        engine.submit(job(server.port))
        engine.wait_for(1)
        engine.held[0].set_exception(OSError("disk"))
        engine.settled()
        wait_until(lambda: engine.engine.open_sessions() == 0, 5, "the session to end")


def test_many_jobs_come_to_one_result_each():
    with scripted() as server, running_engine(PATIENT) as engine:
        jobs = [job(server.port, rcpt=f"r{n}@example.test") for n in range(200)]
        engine.submit(*jobs)
        engine.wait_for(200, timeout_s=60)
        assert {id(one.handle) for one, _ in engine.results} == {id(one.handle) for one in jobs}
        assert all(result.accepted for _, result in engine.results)
    assert len(server.messages) == 200


def test_open_sessions_never_exceed_the_cap_and_all_jobs_get_through():
    with (
        scripted() as first,
        scripted() as second,
        running_engine(PATIENT, open_sessions=3) as engine,
    ):
        engine.submit(*(job(server.port) for _ in range(20) for server in (first, second)))
        most = 0
        while len(engine.results) < 40:
            most = max(most, engine.engine.open_sessions())
            wait_until(lambda: True, 1, "")
        assert all(result.accepted for _, result in engine.results)
    assert most <= 3


def test_idle_session_of_another_host_makes_room():
    with scripted() as first, scripted() as second, running_engine(open_sessions=1) as engine:
        results = engine.send(job(first.port), job(second.port), job(first.port))
    assert all(result.accepted for result in results)


def test_drain_drops_what_is_before_the_dot_at_once():
    with (
        scripted(Script(data=Act.SILENCE)) as server,
        running_engine(data_timeout=timedelta(seconds=60)) as engine,
    ):
        engine.submit(job(server.port))
        wait_until(lambda: server.connections and "DATA" in server.connections[0].lines, 5, "DATA")
        assert engine.engine.drain() == []
        engine.submit(job(server.port))
        engine.settled()
        assert engine.engine.open_sessions() == 0
    assert engine.results == []
    assert len(server.connections) == 1


def test_drain_drops_jobs_that_have_not_begun():
    with scripted() as server, running_engine(drain=timedelta(seconds=60)) as engine:
        begun = time.monotonic()
        engine.submit(*(job(server.port) for _ in range(500)))
        assert engine.engine.drain() == []
        assert engine.engine.busy() == 0
        assert time.monotonic() - begun < 10


def test_drain_waits_for_the_reply_to_the_dot_and_its_outcome():
    with scripted(Script(pause_dot_s=0.3)) as server, running_engine() as engine:
        engine.submit(job(server.port))
        wait_until(lambda: server.messages, 5, "the message")
        assert engine.engine.drain() == []
        ((_, result),) = engine.results
        assert result.accepted


def test_drain_names_what_still_hangs_after_the_dot():
    with (
        scripted(Script(dot=Act.SILENCE)) as server,
        running_engine(dot_timeout=timedelta(seconds=60), drain=timedelta(seconds=0.3)) as engine,
    ):
        hanging = job(server.port)
        engine.submit(hanging)
        wait_until(lambda: server.messages, 5, "the message")
        assert engine.engine.drain() == [hanging]
        assert engine.results == []
        ((reported, until_ms),) = engine.hanging
        assert reported is hanging
        assert 58_000 < until_ms - clock.now_ms() < 60_000


@pytest.mark.parametrize("script", [Script(dot=Act.SILENCE), Script(banner=Act.SILENCE)])
def test_an_attempt_that_takes_long_is_reported_once_and_goes_on(script):
    minute = timedelta(seconds=60)
    with (
        scripted(script) as server,
        running_engine(
            dot_timeout=minute, banner_timeout=minute, lease_after=timedelta(seconds=0.2)
        ) as engine,
    ):
        slow = job(server.port)
        engine.submit(slow)
        wait_until(lambda: engine.hanging, 5, "the report")
        time.sleep(1.2)  # two looks more
        assert [one for one, _ in engine.hanging] == [slow]
        assert engine.engine.busy() == 1
        assert engine.results == []


def test_an_attempt_whose_outcome_is_not_durable_yet_is_not_reported():
    with scripted() as server, running_engine(lease_after=timedelta(seconds=0.1)) as engine:
        engine.hold = True
        engine.submit(job(server.port))
        engine.wait_for(1)
        time.sleep(0.8)  # a look at least
        engine.engine.drain()
        assert engine.hanging == []


def test_drain_waits_for_outcomes_that_are_not_durable_yet():
    with (
        scripted(Script(rcpt="550 5.1.1 no")) as server,
        running_engine(drain=timedelta(seconds=0.2)) as engine,
    ):
        engine.hold = True
        engine.submit(job(server.port))
        engine.wait_for(1)
        assert len(engine.engine.drain()) == 1
        engine.held[0].set_result(None)
        assert engine.engine.drain() == []


def test_process_ends_when_the_engine_cannot_hand_results_on():
    program = """
import time
from sealwax.smtp.engine import SmtpEngine
from tests.support.smtp_engine import QUICK, job

def broken(job, result):
    raise RuntimeError("defect")

engine = SmtpEngine(QUICK, broken, print, lambda: True)
engine.start()
engine.submit([job(1)])
time.sleep(20)
"""
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60
    )
    assert run.returncode == 70, run.stderr
    assert "defect" in run.stdout + run.stderr
