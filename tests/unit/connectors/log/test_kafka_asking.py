"""Answers of a cluster that are none yet: they are asked for again.

Brokers say such things for moments while a leader moves, so the answers are made here.
"""

from concurrent.futures import Future
from dataclasses import dataclass

import pytest
from confluent_kafka import KafkaError, KafkaException

from connectors.log.kafka.asking import Asking
from sealwax.errors import LogAwayError


@dataclass
class Answers:
    """What a cluster answers, one after the other; the last for ever."""

    left: list[int | KafkaException]
    asked: int = 0

    def __call__(self, _client: object, _seconds: float) -> "dict[str, Future[int]]":
        self.asked += 1
        answer = self.left.pop(0) if len(self.left) > 1 else self.left[0]
        future: Future[int] = Future()
        if isinstance(answer, int):
            future.set_result(answer)
        else:
            future.set_exception(answer)
        return {"tp": future}


@pytest.fixture
def asking() -> Asking:
    return Asking({"bootstrap.servers": "127.0.0.1:1", "log_level": 0}, 1.0)


def is_an_offset(answer: int) -> bool:
    return answer >= 0


def test_an_offset_below_zero_is_none_and_asked_for_again(asking):
    answers = Answers([-1, -1001, 7])
    assert asking.ask(answers, usable=is_an_offset) == {"tp": 7}
    assert answers.asked == 3


def test_one_that_stays_below_zero_ends_in_time(asking):
    with pytest.raises(LogAwayError, match="Kafka is away"):
        asking.ask(Answers([-1]), usable=is_an_offset)


@pytest.mark.parametrize("code", [KafkaError.NOT_COORDINATOR, KafkaError._DESTROY_BROKER])
def test_an_error_that_passes_is_asked_again(asking, code):
    answers = Answers([KafkaException(KafkaError(code)), 7])
    assert asking.ask(answers) == {"tp": 7}


def test_one_that_does_not_pass_is_said_at_once(asking):
    answers = Answers([KafkaException(KafkaError(KafkaError.GROUP_AUTHORIZATION_FAILED)), 7])
    with pytest.raises(LogAwayError, match="Kafka refuses"):
        asking.ask(answers)
    assert answers.asked == 1
