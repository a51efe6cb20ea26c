"""Reading ready and retry records: bytes in, messages by site out."""

from collections.abc import Callable, Mapping
from dataclasses import replace

from connectors.log.dead import dead_entry
from connectors.log.outcomes import OutcomeWriter
from connectors.log.port import Record
from connectors.log.source import SourceItem
from connectors.log.suspects import CRASHED, CRASHED_DETAIL
from connectors.records import decode_deliveries, failed_row
from connectors.smtp.items import Queued
from connectors.smtp.leases import Due, Leases, lease_of
from sealwax import clock
from sealwax.errors import UnreadableRecordError
from sealwax.model.delivery import Position
from sealwax.model.topics import DEAD

_FLOW = "dispatch"


class ReadDeliveries:
    """Decodes a batch of records into (site, message); what cannot be read goes to `email.dead`."""

    def __init__(
        self,
        place: Callable[[Queued], Queued | None],
        not_held: Mapping[str, int],
        writer: OutcomeWriter,
        leases: Leases,
    ) -> None:
        """Takes the delays of topics whose records are read at once.

        `place` says the site of a message, or takes it over until that is known.
        """
        self._leases = leases
        self._place = place
        self._not_held = not_held
        self._writer = writer

    def __call__(self, items: list[SourceItem]) -> list[tuple[str, Queued]]:
        """The messages of these records whose site is known, keyed by it."""
        records = [item.record for item in items if not item.crashed]
        for item in items:
            if item.crashed:
                self._bury(item.record, UnreadableRecordError(CRASHED, CRASHED_DETAIL))
        messages = []
        due = []
        decoded = decode_deliveries([record.value or b"" for record in records])
        for record, delivery in zip(records, decoded, strict=True):
            if isinstance(delivery, UnreadableRecordError):
                self._bury(record, delivery)
                continue
            source = Position(record.topic, record.partition, record.offset)
            if lease := lease_of(record):
                due.append(Due(source, delivery, lease))
            else:
                messages.append(Queued("", delivery, source, self._due_ms(record)))
        messages += [_again(one) for one in self._leases.settle(due)]
        placed = (self._place(queued) for queued in messages)
        return [(queued.site, queued) for queued in placed if queued is not None]

    def _due_ms(self, record: Record) -> int:
        delay_ms = self._not_held.get(record.topic)
        return record.stamp_ms + delay_ms if delay_ms else 0

    def _bury(self, record: Record, error: UnreadableRecordError) -> None:
        row = failed_row(record, error.reason, error.detail, at_ms=clock.now_ms())
        entry = dead_entry(record, error.reason, error.detail, flow=_FLOW, row=row)
        source = Position(record.topic, record.partition, record.offset)
        self._writer.write([(DEAD, [entry])], [source])


def _again(lost: Due) -> Queued:
    """At once: nobody waits for the old session any more."""
    delivery = replace(lost.delivery, not_before_ms=lost.delivery.since_ms)
    return Queued("", delivery, lost.source, in_doubt=True)
