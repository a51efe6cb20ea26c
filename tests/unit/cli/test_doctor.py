"""`sealwax doctor`: what it finds, and the one thing that it changes."""

from contextlib import closing

from connectors.log import LogSettings, open_log
from connectors.log.flow_spec import read_back_group
from connectors.log.ownership import FileOwnership
from connectors.log.port import Committed, Entry, TopicPartition
from connectors.smtp.leases import Lease
from sealwax.model import topics
from sealwax.model.delivery import Position
from sealwax.store.clock_file import ClockFile, Suspicion

READY = TopicPartition(topics.READY[0], 0)


def test_without_a_data_directory_it_says_so_and_makes_none(machine):
    run = machine.run("doctor")
    assert run.returncode == 0
    assert "trusted" in run.stdout
    assert "is not there yet" in run.stdout
    assert not machine.data_dir.exists()


def test_a_clock_that_stepped_forward_is_shown_until_it_is_accepted(machine):
    file = ClockFile(machine.data_dir)
    file.suspect(Suspicion(2 * 86_400_000, 1_795_000_000_000))
    for _ in range(2):
        said = machine.run("doctor").stdout
        assert "NOT trusted" in said
        assert "2 days" in said
    assert "NOT trusted" not in machine.run("doctor", "--accept-clock").stdout
    assert file.suspicion() is None


def test_it_shows_the_disk_who_holds_a_lock_and_the_oldest_mail_and_takes_no_lock(machine):
    ownership = FileOwnership(machine.data_dir / "locks", "dispatch")
    with (
        closing(ownership),
        closing(open_log(LogSettings(machine.data_dir / "log", 1))) as log,
    ):
        log.create_topics(topics.ALL)
        ownership.acquire([0])
        log.append_wait(READY.topic, [Entry(0, None, b"1"), Entry(0, None, b"2")])
        log.commit("dispatch", {READY: Committed(1)})
        full = machine.run("doctor", SEALWAX_MIN_FREE="1000000GB").stdout
        assert "TOO FULL" in full
        said = machine.run("doctor", SEALWAX_MIN_FREE="0B").stdout
        assert "the API takes mail" in said
        assert [line.split()[:2] for line in said.splitlines() if "dispatch" in line] == [
            ["dispatch", "0"],  # the lock of partition 0
            ["dispatch", "1"],  # one record
        ]
        assert "ago" in said
        log.commit("dispatch", {READY: Committed(2)})
        assert "all is settled" in machine.run("doctor").stdout
    assert "nobody works on this data directory" in machine.run("doctor").stdout


def test_it_counts_the_leases_that_stand_and_takes_no_flow_for_its_read_back(machine):
    tp = TopicPartition(topics.retry(topics.Stream.TRANSACTIONAL, "5m"), 0)
    headers = (Lease("holder", Position(READY.topic, 0, 7), ()).header(),)
    with closing(open_log(LogSettings(machine.data_dir / "log", 1))) as log:
        log.create_topics(topics.ALL)
        log.append_wait(tp.topic, [Entry(0, None, b"x", headers) for _ in range(3)])
        log.append_wait(tp.topic, [Entry(0, None, b"no lease")])
        log.commit("dispatch", {tp: Committed(1)})
        log.commit(read_back_group("dispatch", 0), {tp: Committed(0)})
    said = machine.run("doctor").stdout
    assert "leases  2 stand" in said
    assert "readback" not in said
