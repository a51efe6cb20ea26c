"""More partitions while mail flows: nothing stops, nothing is lost, nothing comes twice."""

import time

import pytest

from tests.support.kafka import namespace
from tests.support.load import ended_well, under_load
from tests.support.log_view import opened, use_kafka
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.e2e, pytest.mark.proof, pytest.mark.timeout(600)]

FLOWS = ("render", "dispatch", "analytics")


def test_topics_that_grow_under_load_are_read_whole_and_no_mail_is_lost_or_doubled(
    tmp_path, kafka, unhurried
):
    settings = use_kafka(tmp_path / "data", kafka.bootstrap, namespace(), 2)
    with under_load(tmp_path, {**settings, **unhurried}) as (platform, sink, load):
        with load.running():
            wait_until(lambda: sink.count() > 100, 120, "some mail")
            before = {name: platform.pid(name) for name in FLOWS}
            said = platform.command("topics", "apply", "--partitions", "5")
            assert "email.events: partitions '2' -> '5'" in said
            everything = "partitions=(0, 1, 2, 3, 4)"
            wait_until(
                lambda: platform.output.read_text().count(everything) >= len(FLOWS),
                120,
                "all flows to own all partitions",
            )
            wait_until(platform.is_ready, 120, "the platform to be ready")
            time.sleep(2)
        assert platform.command("topics", "apply") == "nothing to change\n"
        doubled = ended_well("topics grow", 1, platform, sink, load)
        assert "is not read" not in platform.output.read_text()
        with opened(platform.data_dir) as log:
            assert log.partitions("email.events") == 5
        print(f"restarted in place: {before}")
    assert doubled == 0
