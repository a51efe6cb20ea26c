"""`sealwax replies`: one explained, the unknown ones grouped."""

import json
from typing import Any

import pytest

from sealwax.cli import replies
from sealwax.errors import ConfigurationError
from sealwax.store.analytics.port import MOST_REPLIES

MX = "hotmail-com.olc.protection.outlook.com"


def row(text: str, at: str = "2026-11-24T08:00:00.000Z", **changes: Any) -> dict[str, Any]:
    made = {
        "provider": "gmx",
        "command": "RCPT",
        "code": 550,
        "status": "5.7.1",
        "reply": text,
        "n": 1,
        "first_at": at,
        "last_at": at,
    }
    return made | changes


def test_a_reply_is_explained_with_what_to_do(capsys):
    text = (
        "550 5.7.1 Unfortunately, messages from [192.0.2.1] weren't sent; on our block list (S3150)"
    )
    replies.explain(text, mx=MX, command="mail")
    said = capsys.readouterr().out
    for line in (
        "rule       microsoft.block_list, version 1",
        "class      reputation",
        "provider   microsoft (Microsoft: Outlook.com and Microsoft 365)",
        "message    retry, by the schedule",  # MAIL: it is about the path
        "recipient  keep",
        "path       take_out ip at provider until resumed",
        "to do      Outlook.com blocks this address",
    ):
        assert f"\n{line}" in f"\n{said}"
    replies.explain(text, mx=MX)
    assert "message    fail" in capsys.readouterr().out


def test_a_reply_is_explained_for_programs_and_for_a_host_of_nobody(capsys):
    replies.explain("452 4.2.2 Mailbox full", json=True)
    said = json.loads(capsys.readouterr().out)
    assert (said["rule"], said["class"], said["provider"]) == (
        "general.mailbox_full", "mailbox_full", ""
    )  # fmt: skip
    assert (said["message"], said["recipient"]) == ("retry", "suppress after 3 in 14d")
    assert (said["path"], said["text"], said["status"]) == ([], "Mailbox full", "4.2.2")
    replies.explain("550 what?", mx="mx.example.test")
    assert "none is known for mx.example.test" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("text", "command", "problem"),
    [
        ("no such user", "RCPT", "'no such user' is no reply: give it with its code"),
        ("", "RCPT", "'' is no reply"),
        ("1234 x", "RCPT", "is no reply"),
        ("550x", "RCPT", "is no reply"),
        ("550 x", "RCPTTO", "--command 'RCPTTO' is no step of a session; there are: ROUTE"),
    ],
)
def test_what_is_no_reply_is_refused_with_what_to_give(text, command, problem):
    with pytest.raises(ConfigurationError) as refused:
        replies.explain(text, command=command)
    assert problem in str(refused.value)


@pytest.mark.parametrize("since", ["7", "week", "0s", "91d", ""])
def test_a_time_that_is_none_is_refused(since):
    with pytest.raises(ConfigurationError, match="--since"):
        replies.unknown(since=since)


def test_replies_of_one_wording_are_one_line_and_others_are_not():
    groups = replies.grouped(
        [
            row("<ada@b.test> is odd, id 4JfcC62DS0z1c1", "2026-11-24T09:00:00.000Z"),
            row("<bob@c.test> is odd, id 5KgdD73ET1a2d2", n=2, first_at="2026-11-20T08:00:00.000Z"),
            row("<eve@d.test> is odd, id 6LheE84FU2b3e3"),
            row("<joe@e.test> is odd, id 7MifF95GV3c4f4"),
            row("[TSS12] of 192.0.2.1"),
            row("[TSS13] of 192.0.2.1"),
            row("[TSS13] of 192.0.2.1", command="MAIL"),
        ]
    )
    assert [(g.words, g.command, g.count) for g in groups] == [
        ("<address> is odd, id <id>", "RCPT", 5),
        ("[TSS12] of <ip>", "RCPT", 1),
        ("[TSS13] of <ip>", "RCPT", 1),
        ("[TSS13] of <ip>", "MAIL", 1),
    ]
    odd = groups[0].facts()
    assert (odd["first_at"], odd["last_at"]) == (
        "2026-11-20T08:00:00.000Z", "2026-11-24T09:00:00.000Z"
    )  # fmt: skip
    assert odd["samples"] == [
        "550 5.7.1 <ada@b.test> is odd, id 4JfcC62DS0z1c1",
        "550 5.7.1 <bob@c.test> is odd, id 5KgdD73ET1a2d2",
        "550 5.7.1 <eve@d.test> is odd, id 6LheE84FU2b3e3",
    ]
    assert groups[0].cells()[3:6] == ("5", "2026-11-20 08:00", "2026-11-24 09:00")


class Answers:
    """Stands for the analytics process."""

    def __init__(self, rows: list[dict[str, Any]]) -> None:
        self.rows = rows
        self.closed = False

    def unknown_replies(self, _since: Any) -> list[dict[str, Any]]:
        return self.rows

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> Answers:
    made = Answers([row("\x1b[what?")])
    monkeypatch.setattr(replies, "open_analytics", lambda _settings: made)
    return made


def test_the_unknown_are_listed_without_steering_the_terminal(answers, capsys):
    replies.unknown()
    said = capsys.readouterr()
    assert "gmx" in said.out
    assert "\\x1b[what?" in said.out
    assert "\x1b" not in said.out
    assert answers.closed
    replies.unknown(json=True)
    (found,) = json.loads(capsys.readouterr().out)["data"]
    assert (found["provider"], found["count"], found["code"]) == ("gmx", 1, 550)


def test_nothing_unknown_is_said_in_a_sentence_and_a_cut_list_says_so(answers, capsys):
    answers.rows = []
    replies.unknown(since="1h")
    assert capsys.readouterr().out == "Every reply of the last 1h was known by a rule.\n"
    answers.rows = [row("what?")] * MOST_REPLIES
    replies.unknown()
    said = capsys.readouterr()
    assert "only the last 10,000 are counted" in said.err
    assert "10000" in said.out


def test_without_a_platform_it_says_how_to_start_it(machine):
    refused = machine.run("replies", "unknown")
    assert refused.returncode == 1
    assert "is `sealwax up` running?" in refused.stderr
    explained = machine.run("replies", "explain", "--mx", MX, "451 4.7.500 Server busy. (S77719)")
    assert "microsoft.busy" in explained.stdout
