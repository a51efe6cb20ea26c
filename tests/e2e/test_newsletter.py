"""A newsletter of real size and shape reaches a real Postfix and an aiosmtpd sink, complete."""

import email
import email.policy
import shutil
import tempfile
from collections import Counter
from datetime import datetime
from pathlib import Path

import dkim
import pytest

from tests.support.platform import Platform, free_port, running_platform
from tests.support.postfix import running_postfix
from tests.support.sink import running_sink
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]

RECIPIENTS = 500
AT_POSTFIX = [f"p{i}.post.test" for i in range(13)]
AT_SINK = [f"s{i}.sink.test" for i in range(12)]
DOMAINS = AT_POSTFIX + AT_SINK

SECTION = (
    '<div style="font-family:Georgia,serif;color:#1a1a2e;padding:12px 24px">'
    '<h2 style="margin:0">Größere Fische, ñandú und 日本</h2>'
    '<p style="line-height:1.5">Liebe {{name}}, das Wichtigste dieser Woche – kurz &amp; gut.</p>'
    '<a href="https://news.acme.test/read?issue=42&amp;section=%d">Weiterlesen …</a></div>\n'
)
HTML = "<!doctype html><html><body>\n" + "".join(SECTION % i for i in range(120)) + "</body></html>"
NAMES = ["Zoë Müller", "Łukasz Żółć", "Ada Lovelace", "山田 太郎"]


@pytest.fixture
def postfix_folder():
    # Postfix's sockets want a short path that other users may enter.
    folder = Path(tempfile.mkdtemp(prefix="pf"))
    folder.chmod(0o755)
    yield folder / "i"
    shutil.rmtree(folder)


def newsletter() -> list[dict[str, object]]:
    return [
        {
            "from": "Wöchentliche Nachrichten <news@acme.test>",
            "to": f"{NAMES[i % 4]} <reader{i}@{DOMAINS[i % 25]}>",
            "subject": "Ausgabe 42: Größer für {{name}} ✓",
            "html": HTML,
            "data": {"name": NAMES[i % 4]},
            "tags": [{"name": "issue", "value": "42"}],
        }
        for i in range(RECIPIENTS)
    ]


def check_message(raw: bytes, published: dict[str, str]) -> str:
    """What any receiver would look at; returns X-Sealwax-Id."""
    message = email.message_from_bytes(raw, policy=email.policy.default)
    defects = [d for part in message.walk() for d in part.defects]
    defects += [d for header in message.values() for d in header.defects]
    assert not defects, defects
    email.message_from_bytes(raw, policy=email.policy.strict)
    name = str(message["To"].addresses[0].display_name)
    assert message["Subject"] == f"Ausgabe 42: Größer für {name} ✓"
    html = message.get_body(("html",))
    text = message.get_body(("plain",))
    assert html is not None
    assert text is not None
    assert html.get_content().replace("\r\n", "\n").rstrip("\n") == HTML.replace("{{name}}", name)
    assert name in text.get_content()
    signatures = message.get_all("DKIM-Signature")
    assert signatures is not None
    assert len(signatures) == 2

    def look_up(name: bytes, timeout: int = 5) -> bytes:
        return published[name.decode().rstrip(".")].encode()

    for index in range(2):
        verifier = dkim.DKIM(raw)
        assert verifier.verify(index, dnsfunc=look_up)
    return str(message["X-Sealwax-Id"])


def without_trace(raw: bytes) -> bytes:
    """A message as it was sent: a receiver puts its own headers in front and ends lines with LF."""
    crlf = raw.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
    return crlf[crlf.index(b"DKIM-Signature:") :]


def check_time_is_accounted_for(platform: Platform, email_id: str) -> None:
    steps = platform.timeline(email_id)
    first, last = (datetime.fromisoformat(steps[i]["at"]) for i in (0, -1))
    covered = sum(step.get("ms", 0) for step in steps if step["kind"] == "waited")
    covered += steps[-1].get("smtp_ms", 0)
    assert abs((last - first).total_seconds() * 1000 - covered) <= 2


def test_a_newsletter_arrives_complete_and_once(tmp_path, postfix_folder):
    port = free_port()
    with (
        running_postfix(postfix_folder, port, AT_POSTFIX) as mailbox,
        running_sink(tmp_path / "sink") as sink,
        running_platform(
            tmp_path / "data",
            {
                "SEALWAX_SMTP_ROUTES": f"*.post.test=127.0.0.1:{port},*.sink.test={sink.address}",
            },
        ) as platform,
    ):
        ids = platform.send(newsletter())
        wait_until(
            lambda: platform.stats().get("delivered", 0) >= RECIPIENTS, 120, "all to be delivered"
        )
        at_postfix = RECIPIENTS * len(AT_POSTFIX) // len(DOMAINS)
        wait_until(lambda: len(list(mailbox.glob("*"))) >= at_postfix, 60, "Postfix's mailbox")
        raws = [without_trace(file.read_bytes()) for file in mailbox.glob("*")]
        raws += [without_trace(sink.message(entry)) for entry in sink.index()]
        records = platform.api.get("/v1/domains/acme.test").json()["records"]
        published = {record["name"]: record["value"] for record in records}
        seen = Counter(check_message(raw, published) for raw in raws)
        message_ids = {email.message_from_bytes(raw)["Message-ID"] for raw in raws}
        print(
            f"\n{len(ids)} sent, {len(raws)} received ({len(raws) - len(sink.index())} at Postfix),"
            f" {2 * len(raws)} signatures verified"
        )
        assert seen == Counter(ids)
        assert len(message_ids) == RECIPIENTS
        stats = platform.stats()
        assert (stats["accepted"], stats["delivered"]) == (RECIPIENTS, RECIPIENTS)
        for email_id in ids[:: RECIPIENTS // 20]:
            check_time_is_accounted_for(platform, email_id)
            kinds = [step["kind"] for step in platform.timeline(email_id)]
            assert [k for k in kinds if k != "waited"] == [
                *("accepted", "rendered", "attempted", "delivered")
            ]
            shown = platform.api.get(f"/v1/emails/{email_id}").json()
            assert shown["status"] == "delivered"
            assert shown["recipients"][0]["verdict"] == "delivered"
            name = NAMES[ids.index(email_id) % 4]
            assert shown["html"] == HTML.replace("{{name}}", name)
        trace = platform.command("trace", ids[0])
        assert all(word in trace for word in ("accepted", "rendered", "attempted", "delivered"))
