"""Requests in the log as the API appends them, for tests that run no API."""

import os
from collections.abc import Callable
from pathlib import Path
from zlib import crc32

import orjson

from connectors.log import LogSettings, open_log
from connectors.log.port import Entry, Headers
from sealwax import clock
from sealwax.mail.grant import grant
from sealwax.model import topics
from sealwax.model.email_id import email_id
from sealwax.store.relational import RelationalSettings, open_store, sqlite_url

_AT_ONCE = 5_000


def granted(data_dir: Path) -> Callable[[bytes], Headers]:
    """What the API writes beside a value of the default tenant, which has the domain acme.test.

    Each call is an email of its own.
    """
    data_dir.mkdir(exist_ok=True)
    store = open_store(
        RelationalSettings(sqlite_url(data_dir / "sealwax.db"), data_dir / "master.key")
    )
    tenant = store.default_tenant().id
    store.add_domain(tenant, "acme.test", trusted=True)
    key = store.master_key.derive("grant")
    store.close()

    def headers(value: bytes) -> Headers:
        now_ms = clock.now_ms()
        ident = email_id(now_ms, os.urandom(10))
        return (
            ("email-id", ident.encode()),
            ("tenant", tenant.encode()),
            ("accepted-at", str(now_ms).encode()),
            ("grant", grant(key, ident, tenant, now_ms, value).encode()),
        )

    return headers


def append_requests(data_dir: Path, count: int, subject: str = "Hi {{name}}") -> list[str]:
    """Appends `count` emails of the default tenant, from acme.test to ten domains; their ids."""
    headers_of = granted(data_dir)
    log = open_log(LogSettings(data_dir / "log"))
    log.create_topics(topics.ALL)
    topic = topics.requested(topics.Stream.TRANSACTIONAL)
    ids, entries = [], []
    for i in range(count):
        value = orjson.dumps(
            {
                "from": "hello@acme.test",
                "to": f"user{i}@d{i % 10}.sink.test",
                "subject": subject,
                "html": "<p>Hello {{name}}</p>",
                "data": {"name": f"number {i}"},
            }
        )
        headers = headers_of(value)
        partition = crc32(b"%d" % i) % log.partitions(topic)
        entries.append(Entry(partition, b"k", value, headers))
        ids.append(dict(headers)["email-id"].decode())
        if len(entries) == _AT_ONCE:
            log.append_wait(topic, entries)
            entries.clear()
    log.append_wait(topic, entries)
    log.close()
    return ids
