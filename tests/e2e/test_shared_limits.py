"""Three dispatchers that share one site's limits, over deaths of the server that counts them."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from itertools import accumulate
from pathlib import Path

import pytest

from connectors.log import LogSettings, open_log
from connectors.log.port import Entry
from connectors.records import encode_deliveries
from sealwax import clock
from sealwax.model import topics
from tests.support.counted_sink import CountedSink, counted_sink
from tests.support.deliveries import delivery
from tests.support.platform import ROOT
from tests.support.smtp_engine import MESSAGE
from tests.support.valkey import Valkey, running_valkey
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.e2e, pytest.mark.proof, pytest.mark.timeout(280)]

DISPATCHERS = 3
CONNECTIONS = 7
RATE = 100
BURST = 10
SITE = "large.test"


def fill(data_dir: Path, number: int, count: int) -> set[str]:
    """Messages to one domain, ready; their recipients."""
    rcpts = [f"user{n}.{number}@{SITE}" for n in range(count)]
    now_ms = clock.now_ms()
    made = [
        delivery(
            rcpt=rcpt,
            rcpt_domain=SITE,
            accepted_at_ms=now_ms,
            since_ms=now_ms,
            give_up_at_ms=now_ms + 3_600_000,
            message=MESSAGE,
        )
        for rcpt in rcpts
    ]
    log = open_log(LogSettings(data_dir / "log"))
    log.create_topics(topics.ALL)
    values = encode_deliveries([(one, b"") for one in made])
    entries = [Entry(n % 4, SITE.encode(), value) for n, value in enumerate(values)]
    log.append_wait(topics.ready(topics.Stream.TRANSACTIONAL), entries)
    log.close()
    return set(rcpts)


class Dispatcher:
    """`python -m bytewax.run flows.dispatch` on a data directory of its own."""

    def __init__(self, data_dir: Path, settings: dict[str, str]) -> None:
        self._data_dir = data_dir
        self._settings = settings

    @property
    def log(self) -> str:
        return (self._data_dir / "dispatch.log").read_text()

    def start(self) -> None:
        ready = self._data_dir / "run" / "dispatch.ready"
        ready.unlink(missing_ok=True)
        environment = {k: v for k, v in os.environ.items() if not k.startswith("SEALWAX_")}
        with (self._data_dir / "dispatch.log").open("ab") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "bytewax.run", "flows.dispatch"],
                env={**environment, **self._settings, "SEALWAX_DATA_DIR": str(self._data_dir)},
                stdout=output, stderr=output, cwd=ROOT,
            )  # fmt: skip
        wait_until(ready.exists, 60, "dispatch to be ready")

    def signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def stop(self) -> None:
        self.signal(signal.SIGCONT)
        self.signal(signal.SIGTERM)
        assert self._process.wait(90) == 0, self.log


@contextmanager
def running(
    tmp_path: Path, valkey: Valkey, sink: CountedSink, mails: int
) -> Iterator[tuple[Sequence[Dispatcher], set[str]]]:
    settings = {
        "REDIS_URL": valkey.url,
        "SEALWAX_SMTP_ROUTES": f"{SITE}=127.0.0.1:{sink.port}",
        "SEALWAX_CONNECTIONS_PER_SITE": str(CONNECTIONS),
        "SEALWAX_RATE_PER_SITE": f"{RATE}/s",
    }
    dispatchers, rcpts = [], set()
    with ExitStack() as stack:
        for number in range(DISPATCHERS):
            data_dir = tmp_path / f"data{number}"
            data_dir.mkdir()
            rcpts |= fill(data_dir, number, mails)
            dispatchers.append(Dispatcher(data_dir, settings))
        for dispatcher in dispatchers:
            dispatcher.start()
            stack.callback(dispatcher.stop)
        yield dispatchers, rcpts


def most_above_rate(begun: Sequence[float]) -> float:
    """How many more transactions began in some span than the rate allows in it."""
    most = behind = 0.0
    for before, at in zip([begun[0], *begun], begun, strict=False):
        behind = max(0.0, behind - (at - before) * RATE) + 1
        most = max(most, behind)
    return most


def wait_for_all(sink: CountedSink, rcpts: set[str]) -> None:
    wait_until(lambda: len(sink.taken) >= len(rcpts), 150, "all mail")
    assert set(sink.taken) == rcpts


def test_a_limit_of_three_dispatchers_holds_while_its_server_and_one_of_them_are_killed(tmp_path):
    with (
        running_valkey(tmp_path / "valkey") as valkey,
        counted_sink(0.03) as sink,
        running(tmp_path, valkey, sink, 350) as (dispatchers, rcpts),
    ):
        wait_until(lambda: len(sink.taken) > 100, 60, "mail to flow")
        valkey.kill()
        away = len(sink.taken)
        time.sleep(4)
        assert len(sink.taken) > away + RATE / 2  # each goes on with its part
        valkey.start()
        back = len(sink.taken)
        wait_until(lambda: len(sink.taken) > back + RATE, 60, "mail to flow again")
        dispatchers[0].kill()
        dispatchers[0].start()
        wait_for_all(sink, rcpts)
        twice = sum(sink.taken.values()) - len(rcpts)
        above = most_above_rate(sorted(sink.begun))
        print(
            f"\n{len(rcpts)} mails, {twice} twice, {RATE}/s exceeded by {above:.1f}, of {CONNECTIONS} "
            f"connections {sink.most_at_work} at work and {sink.most_open} open"
        )
        # Some of what may begin at once begins later than it was let go: half a second of it.
        assert above <= 1.5 * RATE + BURST + DISPATCHERS
        assert sink.most_at_work <= CONNECTIONS
        assert sink.most_open <= CONNECTIONS
        assert twice <= CONNECTIONS
    for dispatcher in dispatchers[1:]:
        assert dispatcher.log.count("shared limits are away") == 1
        assert dispatcher.log.count("shared limits are back") == 1
        assert "calls=" in dispatcher.log


def test_a_process_that_stood_still_adds_no_more_than_what_it_held(tmp_path):
    with running_valkey(tmp_path / "valkey") as valkey, ExitStack() as stack:
        files = [tmp_path / f"process{number}" for number in range(3)]
        processes = [
            stack.enter_context(holding_permits(valkey.url, CONNECTIONS, file)) for file in files
        ]
        wait_until(lambda: all(len(events(file)) > 50 for file in files), 60, "all to have permits")
        processes[0].send_signal(signal.SIGSTOP)
        stopped_at = time.monotonic()
        time.sleep(17)  # longer than its permits are leased
        resumed_at = time.monotonic()
        processes[0].send_signal(signal.SIGCONT)
        wait_until(lambda: events(files[0])[-1][0] > resumed_at + 2, 60, "it to go on")
    held = at_once(events(files[0]), until=stopped_at)[-1]
    counted = at_once([event for file in files for event in events(file)])
    print(f"\nof {CONNECTIONS} permits it used {held} when it stopped; most at once {max(counted)}")
    assert max(counted) <= CONNECTIONS + held
    late = at_once([event for file in files[1:] for event in events(file)], until=resumed_at)
    assert max(late) == CONNECTIONS  # the others had them meanwhile


@contextmanager
def holding_permits(url: str, most: int, file: Path) -> "Iterator[subprocess.Popen[bytes]]":
    command = [sys.executable, "-m", "tests.support.limit_process", url, str(most), str(file)]
    process = subprocess.Popen(command, cwd=ROOT)
    try:
        yield process
    finally:
        process.terminate()
        process.wait(30)


def events(file: Path) -> list[tuple[float, int]]:
    """When the process began (1) or ended (-1) something."""
    lines = file.read_text().splitlines(keepends=True) if file.exists() else []
    parts = [line.split() for line in lines if line.endswith("\n")]
    return [(float(at), int(change)) for at, change in parts]


def at_once(changes: Sequence[tuple[float, int]], until: float = float("inf")) -> list[int]:
    """How many there were at a time, after each change; ends count before begins."""
    return list(accumulate(change for at, change in sorted(changes) if at <= until))
