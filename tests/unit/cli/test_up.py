"""`sealwax up`: what it starts, restarts and stops."""

import os
import re
import signal
import stat
from functools import partial

from sealwax.config import load
from sealwax.store.processes import NAMES, lives
from sealwax.store.relational import open_store
from tests.support.waiting import wait_until


def test_it_says_where_the_api_is_and_a_first_key_when_all_four_are_ready(machine):
    up = machine.start()
    up.wait_ready()
    wait_until(lambda: "Stop it" in up.said, 5, "the whole greeting")
    assert f"http://127.0.0.1:{machine.port}" in up.said
    key = re.search(r"first API key.*: (sw_\S+)", up.said)
    assert key is not None
    store = open_store(load({"SEALWAX_DATA_DIR": str(machine.data_dir)}).relational)
    assert store.tenant_of_key(key[1]) is not None
    assert all(up.files.ready(name) for name in NAMES)
    operator = machine.data_dir / "operator.key"
    assert stat.S_IMODE(operator.stat().st_mode) == 0o600
    assert store.tenant_of_key(operator.read_text().strip()) is not None
    store.close()


def test_the_first_key_is_shown_at_the_first_start_only(machine):
    first = machine.start()
    first.wait_ready()
    first.process.terminate()
    assert first.ends() == 0
    operator = (machine.data_dir / "operator.key").read_text()
    second = machine.start()
    second.wait_ready()
    wait_until(lambda: "Stop it" in second.said, 5, "the whole greeting")
    assert "first API key" not in second.said
    assert (machine.data_dir / "operator.key").read_text() == operator


def test_a_process_that_is_killed_runs_again_at_once(machine):
    up = machine.start()
    up.wait_ready()
    for name in NAMES:
        old = up.pid(name)
        os.kill(old, signal.SIGKILL)
        wait_until(partial(up.runs_again, name, old), 20, f"a new {name}")
    assert "killed by SIGKILL" in up.said
    assert up.process.poll() is None


def test_one_that_keeps_dying_is_started_less_and_less_often_and_the_others_go_on(machine):
    up = machine.start(FAKE_RENDER="dies")
    wait_until(lambda: up.log("render").count("start") >= 4, 60, "a fourth start of render")
    assert "keeps ending" in up.said
    assert up.files.ready("dispatch")
    assert "sealwax is ready" not in up.said
    up.process.terminate()
    assert up.ends() == 0


def test_sigterm_and_ctrl_c_stop_all_four_gently(machine):
    for number in (signal.SIGTERM, signal.SIGINT):
        up = machine.start(FAKE_DISPATCH="slow")
        up.wait_ready()
        pids = up.pids()
        up.process.send_signal(number)
        assert up.ends() == 0
        assert not any(lives(pid) for pid in pids.values())
        assert up.log("dispatch")[-1] == "end"
        assert not [p for p in (machine.data_dir / "run").iterdir() if p.suffix == ".pid"]


def test_a_second_ctrl_c_stops_at_once_what_does_not_end(machine):
    up = machine.start(FAKE_API="deaf", SEALWAX_DRAIN="1h")
    up.wait_ready()
    pids = up.pids()
    up.process.send_signal(signal.SIGINT)
    wait_until(lambda: up.log("dispatch")[-1] == "end", 5, "dispatch to end")
    up.process.send_signal(signal.SIGINT)
    assert up.ends(5) == 0
    assert not any(lives(pid) for pid in pids.values())


def test_children_of_a_killed_supervisor_drain_and_the_next_start_waits_for_them(machine):
    first = machine.start(FAKE_DISPATCH="held")
    first.wait_ready()
    pids = first.pids()
    first.process.kill()
    first.process.wait()
    second = machine.start()
    wait_until(lambda: "waiting" in second.said, 20, "the second start to wait")
    assert "dispatch" in second.said
    (machine.data_dir / "let-go").touch()
    second.wait_ready()
    assert not any(lives(pid) for pid in pids.values())
    assert second.log("dispatch") == ["start", "term", "end", "start"]
