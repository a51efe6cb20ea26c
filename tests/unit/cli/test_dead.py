"""`sealwax dead`: it works on the log, with and without a running platform."""

import json

import pytest

from connectors.log import LogSettings, open_log
from connectors.log.dead import append_dead, dead_entry
from connectors.log.port import Entry, Record, TopicPartition
from sealwax.model import topics

REQUESTED = topics.REQUESTED[0]
STEERING = "\x1b]0;owned\x07\x9b31m\u202e\x7f\U000e0001"


@pytest.fixture
def log(machine):
    opened = open_log(LogSettings(machine.data_dir / "log", 2))
    opened.create_topics(topics.ALL)
    yield opened
    opened.close()


def bury(log, value=b"{}", reason="bad_request", *, topic=REQUESTED, flow="render", offset=3):
    headers = (("x", STEERING.encode()), ("api-key", b"secret"))
    record = Record(topic, 1, offset, b"k", value, headers, 0)
    append_dead(log, dead_entry(record, reason, f"why {STEERING}", flow=flow, tenant_id="acme"))


def test_without_a_log_it_says_so(machine):
    listed = machine.run("dead", "list")
    assert listed.returncode == 1
    assert "there is no log" in listed.stderr


def test_the_list_has_the_newest_of_a_reason_and_says_what_no_flow_wrote(machine, log):
    for n in range(5):
        bury(log, reason="crashed" if n % 2 else "bad_request", offset=n)
    log.append_wait(topics.DEAD, [Entry(0, None, b"by hand")])
    dead = json.loads(machine.run("dead", "list", "--json").stdout)["data"]
    assert [d["offset"] for d in dead] == [0, 1, 2, 3, 4]
    assert {(d["tenant"], d["topic"], d["flow"]) for d in dead} == {("acme", REQUESTED, "render")}
    crashed = machine.run("dead", "list", "--json", "--reason", "crashed", "--limit", "1")
    assert [d["id"] for d in json.loads(crashed.stdout)["data"]] == ["1/3"]
    listed = machine.run("dead", "list")
    assert "1 records of email.dead were written by no flow" in listed.stderr


def test_nothing_that_a_record_holds_steers_the_terminal(machine, log):
    bury(log, f"line 1\nline 2 {STEERING}\r".encode() + b"\xff\x00")
    for arguments in (["list"], ["list", "--json"], ["show", "1/0"], ["show", "1/0", "--json"]):
        said = machine.run("dead", *arguments)
        assert said.returncode == 0, said.stderr
        assert not set(said.stdout) & set("\x1b\x07\x9b\u202e\x7f\x00\r\U000e0001")
    shown = machine.run("dead", "show", "1/0").stdout
    assert "\nline 1\nline 2 \\x1b]0;owned" in shown
    assert "secret" not in shown
    content = json.loads(machine.run("dead", "show", "1/0", "--json").stdout)
    assert content["detail"] == f"why {STEERING}"
    assert content["value_base64"]


def test_a_large_value_is_shown_in_part_and_written_whole(machine, log):
    value = b"0123456789" * 100_000
    bury(log, value)
    shown = machine.run("dead", "show", "1/0").stdout
    assert len(shown) < 70_000
    assert "--raw" in shown
    assert machine.run("dead", "show", "1/0", "--raw").stdout.encode() == value


def test_a_replay_appends_once_and_once_more_only_when_told(machine, log):
    bury(log)
    first = machine.run("dead", "replay", "1/0")
    assert first.stdout == f"1/0 is {REQUESTED}/1/0 now.\n"
    second = machine.run("dead", "replay", "1/0")
    assert second.returncode == 1
    assert "was replayed already" in second.stderr
    assert "0 replayed, 1 were replayed before, 0 cannot be." in (
        machine.run("dead", "replay", "--all").stdout
    )
    assert machine.run("dead", "replay", "1/0", "--again").returncode == 0
    assert log.end_offset(TopicPartition(REQUESTED, 1)) == 2
    assert f"replayed as: {REQUESTED}/1/1" in machine.run("dead", "show", "1/0").stdout


def test_all_gives_back_what_can_be_and_says_why_the_rest_cannot(machine, log):
    bury(log)
    bury(log, reason="unauthenticated")
    bury(log, topic=topics.EVENTS, flow="analytics")
    bury(log, topic=topics.READY[0], flow="dispatch", reason="crashed")
    told = machine.run("dead", "replay", "--all")
    assert told.stdout == "2 replayed, 0 were replayed before, 2 cannot be.\n"
    assert "1/1 is not replayed: its sender is not known" in told.stderr
    assert "1/2 is not replayed: only analytics" in told.stderr
    assert log.end_offset(TopicPartition(topics.READY[0], 1)) == 1


@pytest.mark.parametrize("record_id", ["x", "1", "1/-1", "٣/1", "\x1b[2J"])
def test_what_is_no_id_is_said_to_be_none(machine, log, record_id):
    refused = machine.run("dead", "show", record_id)
    assert refused.returncode == 1
    assert "is no id" in refused.stderr
    assert "\x1b" not in refused.stderr


def test_a_record_that_is_not_there_is_said(machine, log):
    for record_id in ("0/9", "77/0"):
        assert "there is no dead record" in machine.run("dead", "show", record_id).stderr
