"""What a mail costs step by step, on one thread: `python -m bench.stages`.

The mail of `bench.run`, through the very calls that the processes make, a batch at a time. The
dataflow, the SMTP session (`bench/smtp.py`) and the insert are what is missing to the figures by
process. Medians of CPU time, threads of the log included.
"""

import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TypeVar

import orjson

from bench.mails import BODY, email
from connectors.log import LogSettings, open_log
from connectors.log.port import Entry
from connectors.records import decode_deliveries, encode_deliveries, event_row
from sealwax.mail.dkim import Signer, sign_messages, signer
from sealwax.mail.mime import compose_messages, draft
from sealwax.mail.render import render_templates
from sealwax.mail.submission import SubmissionLimits, read_submission
from sealwax.model.email_id import email_id
from sealwax.model.event import Kind
from sealwax.model.submission import Submission
from sealwax.model.tenant import SigningKey
from sealwax.model.topics import TopicSpec
from sealwax.store.relational import RelationalSettings, open_store, sqlite_url
from tests.support.deliveries import START_MS, delivery

BATCH = 250
ROUNDS = 15
T = TypeVar("T")


def timed(process: str, step: str, call: Callable[[], T]) -> T:
    """Prints the median cost of `call`, which works on a batch, for one mail."""
    taken = []
    for _ in range(ROUNDS):
        start_s = time.process_time()
        result = call()
        taken.append((time.process_time() - start_s) / BATCH * 1e6)
    print(f"{process:<10} {step:<44} {statistics.median(taken):>8.1f}")
    return result


def signing_keys(folder: Path) -> tuple[SigningKey, ...]:
    store = open_store(RelationalSettings(sqlite_url(folder / "bench.db"), folder / "master.key"))
    store.add_domain("default", "acme.test", trusted=True)
    keys = store.signing_keys("default", "acme.test")
    store.close()
    return keys


class Stages:
    """One batch of mails, step by step; each method prints the steps of a process."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._log = open_log(LogSettings(folder / "log"))
        self._log.create_topics([TopicSpec("bench")])
        self._keys = signing_keys(folder)
        self._values = [orjson.dumps(email(i)) for i in range(BATCH)]

    def run(self) -> None:
        print(f"\n{'process':<10} {'step, one thread':<44} {'CPU us/mail':>8}")
        self._api()
        ready, rows = self._render(self._messages())
        timed("dispatch", "decode the ready record", lambda: decode_deliveries(ready))
        timed("dispatch", "append an outcome durably", lambda: self._append(rows))
        self._log.close()

    def _append(self, values: Sequence[bytes]) -> None:
        entries = [Entry(i % 4, b"d1.sink.test", value, ()) for i, value in enumerate(values)]
        self._log.append_wait("bench", entries)

    def _read(self) -> list[Submission]:
        limits = SubmissionLimits()
        return [
            read_submission(value, stream_of_topic=None, limits=limits, now_ms=START_MS)
            for value in self._values
        ]

    def _api(self) -> None:
        timed("api", "read and check the request", self._read)
        timed("api", "append it durably", lambda: self._append(self._values))

    def _messages(self) -> list[bytes]:
        submissions = timed("render", "read and check the request", self._read)
        template = "<p>Hello {{name}}</p>" + BODY
        jobs = [("Hi {{name}}", template, None, b'{"name": "Ada"}')] * BATCH
        timed("render", "fill a template, where there is one", lambda: render_templates(jobs))
        unsigned = timed("render", "compose MIME", lambda: compose(submissions))
        for key in self._keys:
            one = signer("acme.test", [key])
            timed("render", f"sign, {key.algorithm}", partial(sign, unsigned, one))
        return sign(unsigned, signer("acme.test", self._keys))

    def _render(self, messages: Sequence[bytes]) -> tuple[list[bytes], list[bytes]]:
        made = [delivery(message=message) for message in messages]
        ready = timed(
            "render", "encode the ready record", lambda: encode_deliveries([(d, b"") for d in made])
        )
        facts = {"rcpts": 1}
        rows = timed(
            "render",
            "make the event's row",
            lambda: [event_row(Kind.RENDERED, d, at_ms=START_MS, facts=facts) for d in made],
        )
        timed("render", "append both durably", lambda: self._append([*ready, *rows]))
        return ready, rows


def compose(submissions: Sequence[Submission]) -> list[bytes]:
    ident = email_id(START_MS, bytes(10))
    drafts = [
        draft(one, email_id=ident, accepted_at_ms=START_MS, rcpt_indexes=[0]) for one in submissions
    ]
    return [one[0] for one in compose_messages(drafts) if isinstance(one, list)]


def sign(messages: Sequence[bytes], by: Signer) -> list[bytes]:
    signed = sign_messages([(message, by, START_MS // 1000) for message in messages])
    return [one for one in signed if isinstance(one, bytes)]


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        Stages(Path(folder)).run()


if __name__ == "__main__":
    main()
