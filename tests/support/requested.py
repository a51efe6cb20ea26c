"""Requests in the log as the API appends them, for tests that run no API."""

import os
from pathlib import Path
from zlib import crc32

import orjson

from connectors.log import LogSettings, open_log
from connectors.log.port import Entry
from sealwax import clock
from sealwax.mail.grant import grant
from sealwax.model import topics
from sealwax.model.email_id import email_id
from sealwax.store.relational import RelationalSettings, open_store, sqlite_url


def append_requests(data_dir: Path, count: int, subject: str = "Hi {{name}}") -> list[str]:
    """Appends `count` emails of the default tenant, from acme.test to ten domains; their ids."""
    data_dir.mkdir(exist_ok=True)
    store = open_store(
        RelationalSettings(sqlite_url(data_dir / "sealwax.db"), data_dir / "master.key")
    )
    tenant = store.default_tenant().id
    store.add_domain(tenant, "acme.test", trusted=True)
    key = store.master_key.derive("grant")
    log = open_log(LogSettings(data_dir / "log"))
    log.create_topics(topics.ALL)
    topic = topics.requested(topics.Stream.TRANSACTIONAL)
    ids, entries = [], []
    for i in range(count):
        now_ms = clock.now_ms()
        ident = email_id(now_ms, os.urandom(10))
        value = orjson.dumps(
            {
                "from": "hello@acme.test",
                "to": f"user{i}@d{i % 10}.sink.test",
                "subject": subject,
                "html": "<p>Hello {{name}}</p>",
                "data": {"name": f"number {i}"},
            }
        )
        headers = (
            ("email-id", ident.encode()),
            ("tenant", tenant.encode()),
            ("accepted-at", str(now_ms).encode()),
            ("grant", grant(key, ident, tenant, now_ms, value).encode()),
        )
        partition = crc32(f"{tenant}{i}".encode()) % log.partitions(topic)
        entries.append(Entry(partition, tenant.encode(), value, headers))
        ids.append(ident)
    log.append_wait(topic, entries)
    log.close()
    store.close()
    return ids
