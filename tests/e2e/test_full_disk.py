"""A disk that fills up: mail is refused, mail that was accepted goes on, and room comes back (R18)."""

import time
from pathlib import Path

import httpx
import pytest

from tests.support.platform import Platform, running_platform
from tests.support.sink import running_sink
from tests.support.small_disk import small_disk
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.e2e, pytest.mark.proof, pytest.mark.timeout(300)]

MB = 1 << 20
DISK_BYTES = 420 * MB
RESERVE = "240MB"
TEXT = "x" * 76 + "\r\n"


def email(number: int) -> dict[str, str]:
    return {
        "from": "hello@acme.test",
        "to": f"user{number}@d{number % 5}.sink.test",
        "subject": f"Number {number}",
        "text": TEXT * 7_500,  # 570 KB: so few that none waits for long, and goes to a delay topic
    }


def until_refused(platform: Platform) -> tuple[list[str], httpx.Response]:
    """Sends until the API refuses; what was accepted, and the refusal."""
    accepted: list[str] = []
    for number in range(DISK_BYTES // len(TEXT)):
        answer = platform.api.post("/v1/emails", json=email(number))
        if answer.status_code != 202:
            return accepted, answer
        accepted.append(answer.json()["id"])
    raise AssertionError("the disk was never full")


def accepts(platform: Platform) -> str:
    answer = platform.api.post("/v1/emails", json=email(0))
    return answer.json()["id"] if answer.status_code == 202 else ""


def test_a_full_disk_refuses_mail_loses_none_and_takes_mail_again(tmp_path: Path):
    with (
        small_disk(tmp_path / "data", DISK_BYTES) as data_dir,
        running_sink(tmp_path / "sink", "--pause-dot", "1") as sink,
    ):
        settings = {
            "SEALWAX_SMTP_ROUTES": f"*.sink.test={sink.address}",
            "SEALWAX_MIN_FREE": RESERVE,
            "SEALWAX_SEGMENT_BYTES": "4MB",
            "SEALWAX_CONNECTIONS_PER_SITE": "5",
        }
        with running_platform(data_dir, settings) as platform:
            begun = time.monotonic()
            accepted, refusal = until_refused(platform)
            assert refusal.status_code == 503
            assert refusal.headers["retry-after"]
            assert "disk" in refusal.json()["detail"]
            wait_until(lambda: {e["id"] for e in sink.index()} >= set(accepted), 180, "all mail")
            accepted.append(wait_until(lambda: accepts(platform), 60, "room for more"))
            first = f"/v1/emails/{accepted[0]}"
            wait_until(lambda: platform.api.get(first).json()["body_note"], 60, "its text to go")
            wait_until(lambda: platform.stats()["delivered"] == len(accepted), 60, "all outcomes")
            received = sorted(entry["id"] for entry in sink.index())
            print(
                f"\nfull disk: {len(accepted)} accepted, {len(received)} received, refused once, "
                f"accepted again {time.monotonic() - begun:.0f} s after the start"
            )
            assert received == sorted(accepted)
