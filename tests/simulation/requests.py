"""Requests as the API appends them, and what rendering looks up for them; nothing is stored."""

from random import Random

import orjson

from connectors.log.port import Entry, Log
from flows.operators.intake import Intake
from flows.operators.render import RenderPorts
from sealwax import clock
from sealwax.mail.grant import grant
from sealwax.mail.keyring import Keyring
from sealwax.mail.submission import SubmissionLimits
from sealwax.model.email_id import email_id
from sealwax.model.tenant import SigningKey

_GRANT_KEY = bytes(32)
_TENANT = "t"
_DAY_MS = 86_400_000
# RFC 8410: a private Ed25519 key of 32 zero bytes. RSA would take most of the simulation's time.
_KEY = SigningKey("s", "ed25519", bytes.fromhex("302e020100300506032b657004220420") + bytes(32))
_GIVE_UP_AFTER = (None, "1m", "10m", "2h")
_DOMAINS = ("a.test", "b.test", "c.test")


class Requests:
    """Makes requests of one tenant, each with recipients of its own."""

    def __init__(self, random: Random) -> None:
        self._random = random
        self._count = 0

    def new(self, partitions: int) -> tuple[str, list[str], Entry]:
        """Email id, recipients, and the record."""
        random, now_ms = self._random, clock.now_ms()
        self._count += 1
        rcpts = [
            f"r{self._count}-{n}@{random.choice(_DOMAINS)}" for n in range(random.randint(1, 3))
        ]
        ident = email_id(now_ms, self._count.to_bytes(10, "big"))
        value = {"from": "hello@acme.test", "to": rcpts, "subject": "Hi", "text": "Hello"}
        give_up_after = random.choice(_GIVE_UP_AFTER)
        if give_up_after is not None:
            value["give_up_after"] = give_up_after
        raw = orjson.dumps(value)
        headers = (
            ("email-id", ident.encode()),
            ("tenant", _TENANT.encode()),
            ("accepted-at", str(now_ms).encode()),
            ("grant", grant(_GRANT_KEY, ident, _TENANT, now_ms, raw).encode()),
        )
        return ident, rcpts, Entry(random.randrange(partitions), _TENANT.encode(), raw, headers)


def render_ports(log: Log) -> RenderPorts:
    """Rendering with one signing key for every domain."""
    return RenderPorts(
        intake=Intake(
            grant_key=_GRANT_KEY,
            tenant_of_key=lambda _key: None,
            incarnation=log.incarnation,
            limits=SubmissionLimits(),
        ),
        once=list,  # none of these requests can come twice
        keyring=Keyring(lambda _tenant, _domain: (_KEY,), clock.now_ms),
        template=lambda *_: None,
        give_up_after_ms=lambda _stream: _DAY_MS,
        partitions=log.partitions,
        now_ms=clock.now_ms,
    )
