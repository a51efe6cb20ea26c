"""A site that accepts connections and never says a word: it holds up nobody else."""

import time
from pathlib import Path

import pytest

from sealwax.model import topics
from tests.support.log_view import unsettled
from tests.support.platform import Platform, running_platform
from tests.support.sink import running_sink
from tests.support.tarpit import tarpit
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.e2e, pytest.mark.proof, pytest.mark.timeout(180)]

HEALTHY = 1_000
BATCH = 50
LOAD_S = 15.0
STUCK = 4_000  # more than dispatch reads ahead of a partition
SESSIONS = 5


def email(to: str) -> dict[str, str]:
    return {"from": "a@acme.test", "to": to, "subject": "Hi", "text": "x" * 2_000}


def healthy_load(platform: Platform) -> list[str]:
    """Longer than mail may wait in memory, so that the rest of the tarpit's is parked."""
    ids: list[str] = []
    begun = time.monotonic()
    while time.monotonic() - begun < LOAD_S or len(ids) < HEALTHY:
        numbers = range(len(ids), len(ids) + BATCH)
        ids += platform.send([email(f"u{i}@d{i % 10}.sink.test") for i in numbers])
        wait_for_delivered(platform, len(ids) - BATCH)
    wait_for_delivered(platform, len(ids))
    return ids


def wait_for_delivered(platform: Platform, count: int) -> None:
    wait_until(lambda: platform.stats()["delivered"] >= count, 60, f"{count} delivered")


def waits_of_others(platform: Platform, email_id: str, site: str) -> list[str]:
    rules = [str(step.get("rule", "")) for step in platform.timeline(email_id)]
    return [
        rule for rule in rules if rule.startswith("site:") and not rule.startswith(f"site:{site}.")
    ]


def test_a_tarpit_holds_its_own_sessions_and_nothing_else(tmp_path: Path):
    with tarpit() as stuck, running_sink(tmp_path / "sink") as sink:
        settings = {
            "SEALWAX_SMTP_ROUTES": f"*.stuck.test={stuck.address},*.sink.test={sink.address}",
            "SEALWAX_CONNECTIONS_PER_SITE": str(SESSIONS),
            "SEALWAX_LEASE_AFTER": "2s",
        }
        with running_platform(tmp_path / "data", settings) as platform:
            platform.send([email(f"u{i}@tar.stuck.test") for i in range(STUCK)])
            wait_until(lambda: len(stuck.connections) == SESSIONS, 30, "the tarpit's sessions")
            ids = healthy_load(platform)
            assert len(stuck.connections) == SESSIONS, "the tarpit holds its sessions all the while"
            wait_until(
                lambda: unsettled(platform.data_dir, "dispatch", *topics.READY) == 0,
                60,
                "the watermarks to pass what the tarpit holds",
            )
            foreign = [
                rule
                for i, email_id in enumerate(ids[::25])
                for rule in waits_of_others(platform, email_id, f"d{i * 25 % 10}.sink.test")
            ]
            print(
                f"\ntarpit: {len(ids)} delivered beside {SESSIONS} sessions that hang, "
                f"{len(foreign)} waits name another site"
            )
            assert not foreign
            assert sorted(entry["id"] for entry in sink.index()) == sorted(ids)
