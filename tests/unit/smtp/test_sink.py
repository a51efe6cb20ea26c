"""The project's mail sink, driven by the engine."""

import pytest

from tests.support.sink import running_sink
from tests.support.smtp_engine import MESSAGE, job, running_engine


@pytest.mark.parametrize("options", [(), ("--tls",)], ids=["clear text", "TLS"])
def test_sink_keeps_every_message_as_it_came(tmp_path, options):
    message = b"X-Sealwax-Id: 42\r\n" + MESSAGE
    with running_sink(tmp_path, *options) as sink, running_engine() as engine:
        (result,) = engine.send(job(sink.port, message=message))
        (entry,) = sink.wait_for(1)
        assert sink.message(entry) == message
    assert result.accepted
    assert bool(result.tls) == bool(options)
    assert (entry["id"], entry["mail_from"]) == ("42", "bounce@sender.test")
    assert (entry["rcpts"], entry["tls"]) == (["ada@example.test"], bool(options))


def test_sink_refuses_each_recipient_so_many_times(tmp_path):
    options = (
        "--reply",
        "RCPT=*@example.test:451 4.7.1 later:times=1",
        "--reply",
        "DOT=bad@*:554 5.6.0 no",
    )
    with running_sink(tmp_path, *options) as sink, running_engine() as engine:
        results = engine.send(
            job(sink.port),
            job(sink.port),
            job(sink.port, rcpt="bob@example.test"),
            job(sink.port, rcpt="bad@other.test"),
        )
        assert len(sink.index()) == 1
    assert [result.reply.code for result in results] == [451, 250, 451, 554]
    assert results[0].reply.status == "4.7.1"
