"""A flow's process whose dataflow is never called: as Bytewax's after a step back of the clock."""

import os
import signal
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest

from connectors.log import LogSettings, open_log
from connectors.log.port import Committed, Entry, TopicPartition
from sealwax.model import topics
from tests.support.log_process import next_line
from tests.support.wall_clock import WallClock

ROOT = Path(__file__).parents[3]
READY = topics.READY[0]
TP = TopicPartition(READY, 0)

# Two records were read. The outcome of the first is durable, that of the second on its way when the
# clock goes back; nobody is called to settle either.
PROGRAM = """
import sys, threading
from pathlib import Path
from connectors.flow_process import FlowProcess
from connectors.log import LogSettings
from connectors.log.outcomes import OutcomeWriter
from connectors.log.port import Entry
from connectors.log.settling import Settling
from flows import dispatch
from sealwax.model import topics
from sealwax.model.delivery import Position

data_dir = Path(sys.argv[1])
process = FlowProcess("dispatch", data_dir, LogSettings(data_dir / "log", 1))
settling = Settling(process.log, dispatch.spec(), process.numbers)
writer = OutcomeWriter(settling)
process.on_clock_back(
    lambda: print("let go", flush=True), lambda: bool(writer.pending), settling.settle_acknowledged
)
process.on_drain(lambda: append(1))
tp = next(tp for tp in settling.sources if tp.topic == topics.READY[0])
settling.settler(tp).hand_out(0, 1)
settling.settler(tp).hand_out(1, 1)

def append(offset):
    writer.write([(topics.EVENTS, [Entry(0, None, b"{}")])], [Position(tp.topic, 0, offset)])

append(0)
print("works", flush=True)
threading.Event().wait(60)
"""


def test_a_clock_that_goes_back_ends_it_with_75_and_all_that_is_durable_committed(tmp_path):
    clock = WallClock(tmp_path)
    data_dir = tmp_path / "data"
    with closing(open_log(LogSettings(data_dir / "log", 1))) as log:
        log.create_topics(topics.ALL)
        log.append_wait(READY, [Entry(0, None, b"1"), Entry(0, None, b"2")])
        process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, data_dir],
            env={**os.environ, **clock.environment, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            text=True,
        )
        assert "outputs read back" in next_line(process)
        assert next_line(process) == "works"
        clock.move_to(-3_600)
        assert process.wait(20) == 75
        assert process.stdout is not None
        assert "let go" in process.stdout.read()
        process.stdout.close()
        committed = log.committed("dispatch", TP)
        assert isinstance(committed, Committed)
        assert committed.offset == 2
        assert log.end_offset(TopicPartition(topics.EVENTS, 0)) == 2


NUMBERS = """
import sys
import time
from pathlib import Path
from connectors.flow_process import FlowProcess
from connectors.log import LogSettings

data_dir = Path(sys.argv[1])
process = FlowProcess("render", data_dir, LogSettings(data_dir / "log", int(sys.argv[2])))
print(process.numbers, flush=True)
"""


@pytest.mark.parametrize("setting", [1, 5])
def test_it_works_on_the_partitions_that_the_topics_have_whatever_the_setting_says(
    tmp_path, setting
):
    data_dir = tmp_path / "data"
    with closing(open_log(LogSettings(data_dir / "log", 3))) as log:
        log.create_topics(topics.ALL)
    run = subprocess.run(
        [sys.executable, "-c", NUMBERS, data_dir, str(setting)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert run.stdout.startswith("(0, 1, 2)\n"), run.stderr


# SIGTERM comes at the worst moment: this program ends, and the next one cannot hear it yet.
ANEW = """
import os, signal, sys, time
from pathlib import Path
from connectors.flow_process import FlowProcess
from connectors.log import LogSettings

data_dir, run = Path(sys.argv[1]), os.execv
again = data_dir.exists()
process = FlowProcess("dispatch", data_dir, LogSettings(data_dir / "log", 1))
if again:
    time.sleep(30)
    sys.exit("it did not hear the signal")

def stopped_meanwhile(*command):
    os.kill(os.getpid(), signal.SIGTERM)
    run(*command)

os.execv = stopped_meanwhile
process._begin_again()
"""


def test_a_stop_that_comes_while_it_begins_again_is_heard_by_the_next_program(tmp_path):
    run = subprocess.run(
        [sys.executable, "-c", ANEW, tmp_path / "data"],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (run.returncode, run.stderr) == (0, "")


# It is still being built: what would end its work comes later than the wish to stop.
BUILT_TOO_LATE = """
import os, signal, sys, time
from pathlib import Path
from connectors.flow_process import FlowProcess
from connectors.log import LogSettings

data_dir = Path(sys.argv[1])
process = FlowProcess("dispatch", data_dir, LogSettings(data_dir / "log", 1))
os.kill(os.getpid(), signal.SIGTERM)
process._drainer.join()
process.on_drain(lambda: print("drained", flush=True))
while not process.quiet(0.1):
    time.sleep(0.01)
print("quiet", flush=True)
"""


def test_a_stop_that_comes_before_the_flow_is_built_ends_it_too(tmp_path):
    run = subprocess.run(
        [sys.executable, "-c", BUILT_TOO_LATE, tmp_path / "data"],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert run.returncode == 0
    assert "drained\nquiet\n" in run.stdout


STOPPED_AND_CONTINUED = """
import signal, sys, threading, time
from connectors.stops import Stops

heard = threading.Event()
Stops(heard.set)
print("waits", flush=True)
for line in sys.stdin:
    print("stops" if heard.wait(float(line)) else "goes on", flush=True)
"""


def test_a_process_that_was_stopped_for_a_while_and_continued_does_not_end():
    command = [sys.executable, "-c", STOPPED_AND_CONTINUED]
    with subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert next_line(process) == "waits"
            for _ in range(3):
                process.send_signal(signal.SIGSTOP)
                time.sleep(0.5)
                process.send_signal(signal.SIGCONT)
            assert asked(process, 0.5) == "goes on"
            process.send_signal(signal.SIGTERM)
            assert asked(process, 30) == "stops"
        finally:
            process.kill()


def asked(process: "subprocess.Popen[str]", wait_s: float) -> str:
    """What it says after a while."""
    assert process.stdin
    process.stdin.write(f"{wait_s}\n")
    process.stdin.flush()
    return next_line(process)
