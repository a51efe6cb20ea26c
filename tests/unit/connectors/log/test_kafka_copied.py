"""A second process of the same instance name, as a copied data directory makes it."""

from contextlib import closing
from datetime import timedelta

from structlog.testing import capture_logs

from connectors.log import KafkaSettings, open_log
from connectors.log.kafka.member import MemberSettings
from connectors.log.kafka.membership import Membership
from connectors.log.kafka.setup import set_up
from tests.support.kafka import namespace
from tests.support.waiting import wait_until


def test_a_process_whose_name_another_one_uses_asks_whether_its_directory_was_copied(kafka):
    settings = KafkaSettings(kafka.bootstrap, namespace(), partitions=2)
    member = MemberSettings("dispatch", "copied-dispatch", timedelta(seconds=6))

    def joined() -> Membership:
        return Membership(log, settings, member, on_changed=lambda: None, on_lost=lambda: None)

    with closing(open_log(settings)) as log:
        set_up(settings, log)
        with capture_logs() as said, closing(joined()) as first:
            assert first.acquire(range(2)) == [0, 1]
            assert not said
            with closing(joined()):
                wait_until(lambda: any("copied?" in one["event"] for one in said), 30, "a warning")
    warning = next(one for one in said if "copied?" in one["event"])
    assert warning["instance"] == "copied-dispatch"
