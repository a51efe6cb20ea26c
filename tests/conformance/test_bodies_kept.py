"""Requests stay after they were rendered, for the API to show them; over every adapter of the log."""

import pytest

from connectors.log.port import Committed, TopicPartition
from connectors.log.retention import Retention
from flows import render
from sealwax import clock
from sealwax.config import load
from sealwax.model import topics
from sealwax.model.topics import TopicSpec
from tests.support.log_reading import fill

HOUR_MS = 3_600_000


@pytest.mark.parametrize("topic", topics.REQUESTED)
def test_a_request_goes_when_it_was_kept_and_is_rendered(log, monkeypatch, topic):
    log.create_topics([TopicSpec(name) for name in topics.REQUESTED])
    tp = TopicPartition(topic, 1)
    fill(log, 3, tp=tp)
    appended_ms = clock.now_ms()
    retention = Retention(log, [1], render.kept(load({})), bool, bool)

    def start(after_ms: int) -> int:
        monkeypatch.setattr(clock, "now_ms", lambda: appended_ms + after_ms)
        retention.run_once()
        return int(log.start_offset(tp))

    assert start(100 * HOUR_MS) == 0  # not rendered yet
    log.commit("render", {tp: Committed(2)})
    assert start(71 * HOUR_MS) == 0
    assert start(73 * HOUR_MS) == 2
