"""Sends a receipt for each order: one record in sealwax's topic is one email.

Orders come as lines of JSON on standard input:

    echo '{"order": "17", "customer": "ada@example.test"}' | python send.py

Settings: KAFKA_BOOTSTRAP_SERVERS, SEALWAX_API_KEY, and MAIL_FROM, an address of a domain of yours.
Needs `pip install confluent-kafka`.
"""

import json
import os
import sys

from confluent_kafka import KafkaError, KafkaException, Message, Producer

# The text before the topics' names, where the installation has one.
NAMESPACE = os.environ.get("SEALWAX_KAFKA_NAMESPACE", "")
TOPIC = f"{NAMESPACE}email.requested.transactional"


class Receipts:
    """Sends receipts and knows which of them did not reach the log."""

    def __init__(self) -> None:
        self.failed: dict[str, str] = {}
        self._author = os.environ["MAIL_FROM"]
        self._api_key = os.environ["SEALWAX_API_KEY"]
        self._producer = Producer({
            "bootstrap.servers": os.environ["KAFKA_BOOTSTRAP_SERVERS"],
            # The brokers keep each record once, on all replicas, whatever the client has to repeat.
            "enable.idempotence": True,
            "acks": "all",
            "compression.type": "zstd",
            # Told as failed after it. Until then the client tries by itself.
            "message.timeout.ms": 60_000,
        })  # fmt: skip

    def send(self, order: str, customer: str) -> None:
        """Hands the receipt to the client, which sends in the background."""
        email = {
            "from": self._author,
            "to": customer,
            "subject": "Your order {{order}}",
            "html": "<p>Thank you for order {{order}}.</p>",
            "data": {"order": order},
        }
        while True:
            try:
                self._producer.produce(
                    TOPIC,
                    key=order,  # records with one key keep their order
                    value=json.dumps(email),
                    headers={
                        "api-key": self._api_key,
                        # The same order is sent once, however often it is produced.
                        "Idempotency-Key": f"receipt-{order}",
                    },
                    on_delivery=lambda error, message: self._told(order, error, message),
                )
            except BufferError:
                self._producer.poll(1)  # the client's queue is full: wait until it has room
                continue
            except KafkaException as error:  # too large, for instance: it never will be sent
                self.failed[order] = str(error.args[0])
            break
        self._producer.poll(0)  # calls on_delivery for those that are done

    def close(self) -> None:
        """Waits until every record is stored or told as failed."""
        self._producer.flush()

    def _told(self, order: str, error: KafkaError | None, message: Message) -> None:
        if error is not None:
            # A time-out says nothing about whether it is stored. To produce it again is right in
            # any case: the Idempotency-Key keeps it from being sent twice.
            self.failed[order] = error.str()
        else:
            print(f"order {order}: {message.topic()}/{message.partition()}/{message.offset()}")


def main() -> int:
    """Status 1 where an order was not sent, so that whoever calls it does so again."""
    receipts = Receipts()
    for line in sys.stdin:
        order = json.loads(line)
        receipts.send(order["order"], order["customer"])
    receipts.close()
    for order, problem in receipts.failed.items():
        print(f"order {order} was not sent: {problem}", file=sys.stderr)
    return 1 if receipts.failed else 0


if __name__ == "__main__":
    sys.exit(main())
