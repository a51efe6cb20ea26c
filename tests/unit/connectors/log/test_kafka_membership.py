"""Members of a flow's group on a real broker: what their incarnations are."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import timedelta
from math import inf

import pytest

from connectors.log import KafkaSettings
from connectors.log.kafka.log import KafkaLog
from connectors.log.kafka.membership import MemberSettings, Membership
from connectors.log.kafka.setup import set_up
from sealwax.model.topics import OWNERSHIP
from tests.support.kafka import Cluster, namespace


@pytest.fixture
def log(kafka: Cluster) -> Iterator[KafkaLog]:
    settings = KafkaSettings(kafka.bootstrap, namespace(), partitions=2)
    with closing(KafkaLog(settings)) as made:
        set_up(settings, made)
        yield made


@contextmanager
def joined(log: KafkaLog) -> Iterator[Membership]:
    member = MemberSettings("dispatch", "one", timedelta(seconds=6))
    said = {"on_changed": lambda: None, "on_lost": lambda: None}
    with closing(Membership(log, log.settings, member, **said)) as membership:
        membership.acquire(range(2))
        yield membership


def incarnations(membership: Membership, **above: int) -> list[int]:
    numbers = {int(name.removeprefix("of_")): least for name, least in above.items()}
    return [writer.incarnation for _, writer in sorted(membership.writers(numbers).items())]


def test_an_incarnation_rises_above_those_that_the_topic_does_not_know_any_more(log):
    with joined(log) as one:
        assert incarnations(one) == [1, 1]
        assert incarnations(one, of_0=1, of_1=2_500) == [2, 2_501]
        assert incarnations(one) == [3, 2_502]
    with joined(log) as one:
        assert incarnations(one) == [4, 2_503]


def test_an_incarnation_that_was_said_when_ownership_was_not_sure_is_none(log, monkeypatch):
    with joined(log) as one:
        append, late = log.append_wait, iter([True])

        def append_slowly(topic, entries):
            offsets = append(topic, entries)
            if topic == OWNERSHIP and next(late, False):
                monkeypatch.setattr(one, "_valid_until", -inf)  # until it is proven again
            return offsets

        monkeypatch.setattr(log, "append_wait", append_slowly)
        assert incarnations(one) == [2, 2]
