"""What a mail costs step by step, on one thread: `python -m bench.stages`.

The mail of `bench.run`, through the very calls that the processes make, a batch at a time. The
dataflow, the SMTP session (`bench/smtp.py`) and the insert are what is missing to the figures by
process. Medians of CPU time, threads of the log included.
"""

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import orjson

from bench.mails import BODY, email
from connectors.log import LogSettings, open_log
from connectors.log.port import Entry
from connectors.records import decode_deliveries, encode_deliveries, event_row
from sealwax.mail.dkim import sign_messages, signer
from sealwax.mail.mime import compose_messages, draft
from sealwax.mail.render import render_templates
from sealwax.mail.submission import SubmissionLimits, read_submission
from sealwax.model.delivery import Delivery, Position
from sealwax.model.email_id import email_id
from sealwax.model.event import Kind
from sealwax.model.tenant import SigningKey
from sealwax.model.topics import Stream, TopicSpec
from sealwax.store.relational import RelationalSettings, open_store, sqlite_url

BATCH = 250
ROUNDS = 15
NOW_MS = 1_764_000_000_000
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


def delivery(ident: str, number: int, message: bytes) -> Delivery:
    return Delivery(
        email_id=ident,
        rcpt_index=0,
        tenant_id="default",
        stream=Stream.TRANSACTIONAL,
        reverse_path="bounces@acme.test",
        rcpt=f"user{number}@d1.sink.test",
        rcpt_domain="d1.sink.test",
        accepted_at_ms=NOW_MS,
        give_up_at_ms=NOW_MS + 86_400_000,
        attempt=0,
        due_ms=0,
        not_before_ms=0,
        source_ip="",
        dkim_domain="acme.test",
        template="",
        tags=(),
        request=Position("email.requested.transactional", 0, number),
        since_ms=NOW_MS,
        waits=(),
        message=message,
    )


def stages(folder: Path) -> None:
    """Prints a table of steps."""
    folder.mkdir(parents=True, exist_ok=True)
    log = open_log(LogSettings(folder / "log"))
    log.create_topics([TopicSpec("bench")])
    keys = signing_keys(folder)
    print(f"\n{'process':<10} {'step, one thread':<44} {'CPU us/mail':>8}")

    def append(values: list[bytes]) -> None:
        log.append_wait(
            "bench", [Entry(i % 4, b"d1.sink.test", v, ()) for i, v in enumerate(values)]
        )

    values = [orjson.dumps(email(i)) for i in range(BATCH)]
    submissions = timed(
        "api",
        "read and check the request",
        lambda: [
            read_submission(v, stream_of_topic=None, limits=SubmissionLimits(), now_ms=NOW_MS)
            for v in values
        ],
    )
    timed("api", "append it durably", lambda: append(values))
    timed(
        "render",
        "read and check the request",
        lambda: [
            read_submission(v, stream_of_topic=None, limits=SubmissionLimits(), now_ms=NOW_MS)
            for v in values
        ],
    )
    template = "<p>Hello {{name}}</p>" + BODY
    jobs = [("Hi {{name}}", template, None, b'{"name": "Ada"}')] * BATCH
    timed("render", "fill a template (where there is one)", lambda: render_templates(jobs))
    idents = [email_id(NOW_MS, i.to_bytes(10, "big")) for i in range(BATCH)]
    composed = timed(
        "render",
        "compose MIME",
        lambda: compose_messages(
            [
                draft(s, email_id=ident, accepted_at_ms=NOW_MS, rcpt_indexes=[0])
                for s, ident in zip(submissions, idents, strict=True)
            ]
        ),
    )
    unsigned = [copies[0] for copies in composed if isinstance(copies, list)]
    for key in keys:
        one = signer("acme.test", [key])
        timed(
            "render",
            f"sign, {key.algorithm}",
            lambda one=one: sign_messages([(m, one, NOW_MS // 1000) for m in unsigned]),  # type: ignore[misc] # bound now
        )
    both = signer("acme.test", keys)
    signed = sign_messages([(m, both, NOW_MS // 1000) for m in unsigned])
    messages = [m for m in signed if isinstance(m, bytes)]
    deliveries = [
        delivery(ident, i, m) for i, (ident, m) in enumerate(zip(idents, messages, strict=True))
    ]
    ready = timed(
        "render",
        "encode the ready record",
        lambda: encode_deliveries([(d, b"") for d in deliveries]),
    )
    rows = timed(
        "render",
        "make the event's row",
        lambda: [event_row(Kind.RENDERED, d, at_ms=NOW_MS, facts={"rcpts": 1}) for d in deliveries],
    )
    timed("render", "append both durably", lambda: append([*ready, *rows]))
    timed("dispatch", "decode the ready record", lambda: decode_deliveries(ready))
    timed("dispatch", "append an outcome durably", lambda: append(rows))
    log.close()


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        stages(Path(folder))


if __name__ == "__main__":
    main()
