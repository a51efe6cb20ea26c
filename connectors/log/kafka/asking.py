"""Requests to the cluster: each repeated, while its error is one that passes, until the timeout."""

import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from typing import Any, TypeVar

from confluent_kafka import KafkaError, KafkaException

from sealwax import clock
from sealwax.errors import LogAwayError

K = TypeVar("K")
_AGAIN_AFTER_S = 0.1
# The client library aborts the process where an operation ends by its own timeout and the request
# that it waited for fails after that (librdkafka issue 4605). So the wait ends here, and the
# operation goes on until `socket.timeout.ms` ends its request.
_OPERATION_S = 3_600.0
# A leader or a coordinator moves, or has just been named. The client says so of few of them.
_PASSING = frozenset({
    KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
    KafkaError.COORDINATOR_NOT_AVAILABLE,
    KafkaError.FENCED_LEADER_EPOCH,
    KafkaError.LEADER_NOT_AVAILABLE,
    KafkaError.NETWORK_EXCEPTION,
    KafkaError.NOT_CONTROLLER,
    KafkaError.NOT_COORDINATOR,
    KafkaError.NOT_LEADER_FOR_PARTITION,
    KafkaError.OFFSET_NOT_AVAILABLE,
    KafkaError.REBALANCE_IN_PROGRESS,
    KafkaError.REQUEST_TIMED_OUT,
    KafkaError.UNKNOWN_LEADER_EPOCH,
    KafkaError._ALL_BROKERS_DOWN,  # noqa: SLF001 - public codes with private names
    KafkaError._TIMED_OUT,  # noqa: SLF001
    KafkaError._TRANSPORT,  # noqa: SLF001
    KafkaError._WAIT_COORD,  # noqa: SLF001
})  # fmt: skip


class Asking:
    """Asks with a timeout."""

    def __init__(self, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._pause = threading.Event()

    def ask(
        self,
        request: Callable[[float], Mapping[K, Future[Any]]],
        *allowed: int,
        check: Callable[[Any], None] = lambda _answer: None,
    ) -> dict[K, Any]:
        """The answers by what they are about.

        Args:
            request: Takes a timeout in seconds, and makes the futures of the admin client.
            allowed: Codes of errors that are an answer too; it is None.
            check: Raises KafkaException for an answer with an error in it.

        Raises:
            LogAwayError: An error that does not pass, or did not in time.
        """
        deadline = clock.monotonic() + self._timeout_s
        while True:
            left_s = max(1.0, deadline - clock.monotonic())
            answers, passing = {}, None
            for key, future in request(_OPERATION_S).items():
                try:
                    answers[key] = future.result(left_s)
                    check(answers[key])
                except KafkaException as error:
                    reason: KafkaError = error.args[0]
                    if reason.code() in allowed:
                        answers[key] = None
                    elif reason.code() in _PASSING or reason.retriable():
                        passing = error
                    else:
                        raise LogAwayError(f"Kafka refuses: {reason.str()}") from error
                except TimeoutError as error:
                    raise LogAwayError("Kafka does not answer in time") from error
            if passing is None:
                return answers
            if clock.monotonic() >= deadline:
                raise LogAwayError(f"Kafka is away: {passing.args[0].str()}") from passing
            self._pause.wait(_AGAIN_AFTER_S)
