"""What autoscaling reads of a platform: mail that waits for limits is not there, other mail is."""

import urllib.request

import pytest
from prometheus_client.parser import text_string_to_metric_families

from sealwax.model import topics
from tests.support.platform import free_port, running_platform
from tests.support.tarpit import tarpit
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180)]

SESSIONS = 2
READY = topics.READY[0]


def email(to: str) -> dict[str, str]:
    return {"from": "a@acme.test", "to": to, "subject": "Hi", "text": "Hello"}


def test_only_mail_that_more_processes_could_send_counts(tmp_path):
    port = free_port()

    def figures() -> tuple[float, float]:
        """Sendable, and unsettled in the ready topic; no mail is parked while all stand still."""
        text = urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics").read().decode()
        samples = [s for f in text_string_to_metric_families(text) for s in f.samples]
        values = {
            (s.name, s.labels.get("stream") or s.labels.get("topic")): s.value for s in samples
        }
        return (
            values["sealwax_sendable_records", "transactional"],
            values["sealwax_unsettled_records", READY],
        )

    with tarpit() as stuck:
        settings = {
            "SEALWAX_SMTP_ROUTES": f"*.sink.test={stuck.address}",
            "SEALWAX_CONNECTIONS_PER_SITE": str(SESSIONS),
            "SEALWAX_METRICS": f"127.0.0.1:{port}",
        }
        with running_platform(tmp_path / "data", settings) as platform:
            assert figures() == (0, 0)
            platform.send([email(f"u{n}@one.sink.test") for n in range(40)])
            wait_until(lambda: figures() == (SESSIONS, 40), 30, "a site at its limit")
            platform.send([email(f"u@d{n}.sink.test") for n in range(30)])
            wait_until(lambda: figures() == (SESSIONS + 30, 70), 30, "mail to sites below theirs")
            platform.kill()
