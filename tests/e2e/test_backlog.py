"""A large backlog before a stalled SMTP side, killed and started again: memory, and the first mail.

20,000 mails in `make test`, a million in `make soak`.
"""

import time
from pathlib import Path

import pytest

from sealwax.model import topics
from sealwax.store.processes import NAMES
from tests.support.log_view import opened, partitions, unsettled
from tests.support.platform import Platform, running_platform
from tests.support.requested import append_requests
from tests.support.sink import running_sink
from tests.support.tarpit import tarpit
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.e2e, pytest.mark.proof, pytest.mark.timeout(3_600)]

# docs/operations.md states them.
BOUND_MB = {"api": 300, "render": 300, "dispatch": 600, "analytics": 900}
FEW = 1_000


def peaks(platform: Platform) -> dict[str, int]:
    return {name: platform.peak_mb(name) for name in NAMES}


def unrendered(data_dir: Path) -> int:
    return unsettled(data_dir, "render", *topics.REQUESTED)


def read_ahead(platform: Platform) -> int:
    """Ready records that dispatch has settled: none may be, while nobody takes a mail."""
    with opened(platform.data_dir) as log:
        ready = sum(log.end_offset(tp) for tp in partitions(log, *topics.READY))
    return ready - unsettled(platform.data_dir, "dispatch", *topics.READY)


def test_a_backlog_is_bounded_in_memory_and_flows_soon_after_a_kill(tmp_path: Path, soak: bool):
    count = 1_000_000 if soak else 20_000
    data_dir = tmp_path / "data"
    append_requests(data_dir, count)
    with tarpit() as stuck, running_sink(tmp_path / "sink") as sink:
        settings = {"SEALWAX_SMTP_ROUTES": f"*.sink.test={stuck.address}"}
        with running_platform(data_dir, settings, domain="other.test") as platform:
            wait_until(lambda: unrendered(data_dir) == 0, 1_800, "everything to be rendered")
            stalled = peaks(platform)
            parked = read_ahead(platform)
            platform.kill()
            platform.environment["SEALWAX_SMTP_ROUTES"] = f"*.sink.test={sink.address}"
            begun = time.monotonic()
            platform.start()
            wait_until(sink.index, 60, "the first mail")
            first_s = time.monotonic() - begun
            wait_until(lambda: len(sink.index()) >= FEW, 120, "some mail")
            flowing = peaks(platform)
            print(
                f"\nbacklog of {count:,}: first mail {first_s:.1f} s after a start, {parked:,} "
                f"parked by the stalled side, peak MB stalled {stalled}, flowing {flowing}"
            )
            for name, bound in BOUND_MB.items():
                assert max(stalled[name], flowing[name]) < bound, name
            assert first_s < 10 or not soak  # on a machine of its own
            assert parked < count // 10, "a stalled side does not walk its backlog into the topics"
