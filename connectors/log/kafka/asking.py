"""Requests to the cluster: each repeated, while its error is one that passes, until the timeout."""

import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from typing import Any, TypeVar

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient

from connectors.log.kafka.settings import Config
from sealwax import clock
from sealwax.errors import LogAwayError

K = TypeVar("K")
_AGAIN_AFTER_S = 0.1
_TRY_S = 5.0
_LONGER_S = 30.0
_TIMED_OUT = KafkaError._TIMED_OUT  # noqa: SLF001 - a public code with a private name
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
    KafkaError._DESTROY_BROKER,  # noqa: SLF001 - the broker is not of the cluster any more
    KafkaError._NOENT,  # noqa: SLF001 - no leaders are known
    KafkaError._TIMED_OUT,  # noqa: SLF001
    KafkaError._TIMED_OUT_QUEUE,  # noqa: SLF001
    KafkaError._TRANSPORT,  # noqa: SLF001
    KafkaError._WAIT_COORD,  # noqa: SLF001
})  # fmt: skip


def passes(error: KafkaError) -> bool:
    """Whether the same may be asked again with another result."""
    return error.code() in _PASSING or error.retriable()


# Clients whose answers nobody waits for any more, each with when it may go.
_ABANDONED: list[tuple[float, AdminClient]] = []


class Asking:
    """Asks by an admin client, with a timeout. Thread-safe.

    The client library ends the process where an operation ends by its own timeout and the request
    under way fails after that (librdkafka issue 4605), and where a client is let go of that still
    waits for an answer (seen with 2.16). So the waiting ends here, an operation lasts for longer
    than its requests do (`socket.timeout.ms`), and its client is kept for as long.

    A client that a broker's restart has caught in a bad moment may wait for ever for answers about
    groups (seen with librdkafka 2.16). So each try is short, and one without an answer is repeated
    by a new client.
    """

    def __init__(self, config: Config, timeout_s: float) -> None:
        self._config = config
        self._timeout_s = timeout_s
        self._operation_s = 2 * timeout_s + _LONGER_S
        self._client = AdminClient(config)
        self._pause = threading.Event()

    def ask(
        self,
        request: Callable[[AdminClient, float], Mapping[K, Future[Any]]],
        *allowed: int,
        usable: Callable[[Any], bool] = lambda _answer: True,
    ) -> dict[K, Any]:
        """The answers by what they are about.

        Args:
            request: Takes a client and a timeout in seconds, and makes its futures. It may be
                made more than once.
            allowed: Codes of errors that are an answer too; it is None.
            usable: Whether an answer is one; it is asked again where not.

        Raises:
            LogAwayError: An error that does not pass, or did not in time.
        """
        deadline = clock.monotonic() + self._timeout_s
        while True:
            client = self._client
            seconds = max(1.0, min(_TRY_S, deadline - clock.monotonic()))
            futures = request(client, self._operation_s)
            try:
                answers, passing = _answers(futures, seconds, allowed)
            finally:
                if not all(future.done() for future in futures.values()):
                    self._abandon(client)
            if passing is None and not all(usable(answer) for answer in answers.values()):
                passing = KafkaError(KafkaError.OFFSET_NOT_AVAILABLE)
            if passing is None:
                return answers
            if clock.monotonic() >= deadline:
                raise LogAwayError(f"Kafka is away: {passing.str()}")
            if passing.code() == _TIMED_OUT and self._client is client:
                self._client = AdminClient(self._config)
            self._pause.wait(_AGAIN_AFTER_S)

    def _abandon(self, client: AdminClient) -> None:
        now = clock.monotonic()
        _ABANDONED[:] = [one for one in _ABANDONED if one[0] > now]
        _ABANDONED.append((now + self._operation_s + _LONGER_S, client))


def _answers(
    futures: Mapping[K, Future[Any]], seconds: float, allowed: tuple[int, ...]
) -> tuple[dict[K, Any], KafkaError | None]:
    """What came, and an error that passes."""
    answers: dict[K, Any] = {}
    passing = None
    for key, future in futures.items():
        try:
            answers[key] = future.result(seconds)
        except KafkaException as error:
            reason: KafkaError = error.args[0]
            if reason.code() in allowed:
                answers[key] = None
            elif passes(reason):
                passing = reason
            else:
                raise LogAwayError(f"Kafka refuses: {reason.str()}") from error
        except TimeoutError:
            passing = KafkaError(_TIMED_OUT)
    return answers, passing
