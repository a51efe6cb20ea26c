"""Mails of a megabyte to many recipients: they arrive, and memory stays where it is said to stay."""

from pathlib import Path

import pytest

from sealwax.store.processes import NAMES
from tests.support.platform import running_platform
from tests.support.sink import running_sink
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.e2e, pytest.mark.proof, pytest.mark.timeout(300)]

# docs/operations.md states them.
BOUND_MB = {"api": 500, "render": 700, "dispatch": 600, "analytics": 900}
RECIPIENTS = 50


def test_large_mails_to_many_recipients_are_bounded_in_memory(tmp_path: Path, soak: bool):
    requests = 20 if soak else 4
    text = "Привет, мир. " * 41_000  # 0.9 MB; 1.2 MB in base64
    emails = [
        {
            "from": "hello@acme.test",
            "to": [f"user{n}-{i}@d{i % 10}.sink.test" for i in range(RECIPIENTS)],
            "subject": f"Number {n}",
            "text": text,
        }
        for n in range(requests)
    ]
    with (
        running_sink(tmp_path / "sink") as sink,
        running_platform(
            tmp_path / "data", {"SEALWAX_SMTP_ROUTES": f"*.sink.test={sink.address}"}
        ) as platform,
    ):
        pids = [platform.pid(name) for name in NAMES]
        for email in emails:
            assert platform.api.post("/v1/emails", json=email).status_code == 202
        wait_until(lambda: sink.count() == requests * RECIPIENTS, 240, "all mail")
        peaks = {name: platform.peak_mb(name) for name in NAMES}
        print(f"\n{requests} mails of 0.9 MB to {RECIPIENTS} recipients each: peak MB {peaks}")
        assert pids == [platform.pid(name) for name in NAMES], "none of them ended"
        assert all(peaks[name] < BOUND_MB[name] for name in NAMES), peaks
