"""Whether a cluster can be reached, and why not, in the words of the client that tried."""

import re
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient

from connectors.log.kafka.settings import KafkaSettings
from sealwax import clock
from sealwax.errors import ConfigurationError

_TRY_S = 0.5
_ALL_AWAY = KafkaError._ALL_BROKERS_DOWN  # noqa: SLF001 - public codes with private names
# What no waiting mends, with what to look at.
_WRONG = {
    KafkaError._RESOLVE: "KAFKA_BOOTSTRAP_SERVERS",  # noqa: SLF001
    KafkaError._AUTHENTICATION: "user and password in SEALWAX_KAFKA_CONFIG",  # noqa: SLF001
    KafkaError._SSL: "the TLS properties in SEALWAX_KAFKA_CONFIG",  # noqa: SLF001
    KafkaError.SASL_AUTHENTICATION_FAILED: "user and password in SEALWAX_KAFKA_CONFIG",
    KafkaError.UNSUPPORTED_SASL_MECHANISM: "sasl.mechanism in SEALWAX_KAFKA_CONFIG",
}
# How OpenSSL says it. The client gives what fails at once the code of any broken connection.
_OF_TLS = "SSL routines"
# Which connection of the client's it was, and for how long it was in which state.
_OF_THE_CLIENT = re.compile(r"/(bootstrap|\d+)(?=: )|\s*\(after \d+ms in state [A-Z_0-9]+[^)]*\)")


@dataclass(frozen=True, slots=True)
class Unreachable:
    """Why a cluster was not reached.

    Attributes:
        reason: What the client says.
        mend: What to look at, where waiting mends nothing; else empty.
    """

    reason: str
    mend: str = ""

    def said_of(self, settings: KafkaSettings) -> str:
        """The sentence for who started the process."""
        mend = f"; look at {self.mend}" if self.mend else ""
        return f"Kafka at {settings.bootstrap} cannot be reached: {self.reason}{mend}"


def refused(settings: KafkaSettings, error: KafkaException) -> ConfigurationError:
    """Properties that the client library does not take. Shows names of them, and no value."""
    text: str = error.args[0].str()
    for value in settings.client.values():
        text = text.replace(f'"{value}"', "given")
    return ConfigurationError(
        f"the Kafka client refuses its properties: {text}; look at the file that "
        "SEALWAX_KAFKA_CONFIG names"
    )


def reach(settings: KafkaSettings, patience: timedelta) -> Unreachable | None:
    """Asks any broker for anything; None where one answers.

    Args:
        settings: The cluster.
        patience: How long to go on trying.

    Raises:
        ConfigurationError: The client library does not take a property.
    """
    errors: list[KafkaError] = []
    try:
        config: dict[str, Any] = {**settings.common(), "log_level": 0, "error_cb": errors.append}
        admin = AdminClient(config)
    except KafkaException as error:
        raise refused(settings, error) from error
    deadline = clock.monotonic() + patience.total_seconds()
    while True:
        try:
            admin.list_topics(timeout=_TRY_S)
        except KafkaException as error:
            admin.poll(0)
            wrong = [one for one in errors if mend_of(one)]
            others = [one for one in errors if not mend_of(one) and one.code() != _ALL_AWAY]
            # Of several brokers one may have a name that is gone, and another may just start.
            if wrong and not others:
                return Unreachable(_said(wrong[-1]), mend_of(wrong[-1]))
            if clock.monotonic() >= deadline:
                return Unreachable(_said((others or wrong or [error.args[0]])[-1]))
        else:
            return None


def mend_of(error: KafkaError) -> str:
    """What to look at; empty where waiting may mend it."""
    code = KafkaError._SSL if _OF_TLS in error.str() else error.code()  # noqa: SLF001
    return _WRONG.get(code, "")


def _said(error: KafkaError) -> str:
    return _OF_THE_CLIENT.sub("", error.str())
