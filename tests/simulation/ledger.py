"""The promises, checked on the disk whenever something is written to it.

A promise that breaks is noted and not raised: the code under test may catch what it calls.
"""

from collections import Counter, defaultdict
from collections.abc import Sequence

import orjson

from connectors.log.dead import header
from connectors.log.flow_spec import FlowSpec
from connectors.log.port import Committed, Record, TopicPartition
from connectors.log.settle import Settler, decode_mark, parse_source_header
from connectors.smtp.leases import lease_of
from flows import dispatch
from sealwax.model.delivery import Position
from sealwax.model.event import TERMINAL, Kind
from sealwax.model.topics import DEAD, EVENTS, READY, REQUESTED, RETRY
from tests.simulation.disk import Disk
from tests.simulation.network import Network

# One recipient's copy of a request: where the request stands, and the recipient's index.
Copy = tuple[Position, int | None]

# A lease settles a record, and the outcome of the attempt comes all the same.
_LEASE = ("lease", None)


class Ledger:
    """What became of every request and every record.

    Attributes:
        recipients: Email id -> its recipients, for the requests that can be rendered.
        broken: The promises that did not hold, in words.
    """

    def __init__(self, disk: Disk, network: Network, specs: Sequence[FlowSpec]) -> None:
        self.recipients: dict[str, list[str]] = {}
        self.broken: list[str] = []
        self._disk = disk
        self._network = network
        self._outputs = {spec.name: spec.outputs for spec in specs}
        self._sources = {spec.name: tuple(spec.shares) for spec in specs}
        # Source record -> its outcomes that are durable: where each stands, by topic and recipient.
        self._outcomes: defaultdict[Position, dict[tuple[str, int | None], Position]] = defaultdict(
            dict
        )
        self._needed: dict[Position, int] = {}  # of a source record, how many outcomes
        self._leases: dict[Position, Position] = {}  # lease -> the record that it stands for
        self._copies: dict[Position, Copy] = {}  # of a record of a ready or retry topic
        self._queued: Counter[Copy] = Counter()
        self._ended: dict[Copy, Kind] = {}
        disk.watchers.append(self._on_records)
        disk.on_commit = self._on_commit

    def expect(self, holds: object, broken: str) -> None:
        """Notes a promise that does not hold."""
        if not holds:
            self.broken.append(broken)

    @property
    def over(self) -> bool:
        """Whether nothing that was accepted is still on its way, and every lease is settled."""
        complete = not +self._queued and all(self._complete(source) for source in self._needed)
        return complete and all(self._is_settled(lease) for lease in self._leases)

    def _is_settled(self, position: Position) -> bool:
        tp = TopicPartition(position.topic, position.partition)
        at = self._disk.positions.get((dispatch.NAME, tp), Committed(0)).offset
        return at > position.offset

    def check_sums(self) -> None:
        """Accepted = outcomes + queued, for every recipient's copy that was rendered."""
        for copy in {*self._queued, *self._ended}:
            there = self._queued[copy] + (copy in self._ended)
            self.expect(there == 1, f"{copy} is queued or ended {there} times")

    def check_end(self, allowed: Counter[str]) -> None:
        """Everything was accepted, has ended, once, and is settled.

        Args:
            allowed: Address -> deliveries beyond the first that a crash or a broken session allows.
        """
        self.check_sums()
        for source, needed in self._needed.items():
            found = len(self._outcomes[source].keys() - {_LEASE})
            ended = self._complete(source) if source in self._leases else found == needed
            leased = _LEASE in self._outcomes[source] and not found
            self.expect(ended or leased, f"{source} has {found} of {needed} outcomes")
        for rcpts in self.recipients.values():
            for rcpt in rcpts:
                more = self._network.delivered[rcpt] - 1
                self.expect(
                    more <= allowed[rcpt],
                    f"{rcpt} got {more} mails too many, where crashes allow {allowed[rcpt]}",
                )
        for name, topics in self._sources.items():
            for tp, records in self._disk.records.items():
                if tp.topic in topics and records:
                    committed = self._disk.positions.get((name, tp), Committed(0)).offset
                    self.expect(
                        committed == len(records), f"{name} settled {committed} of all in {tp}"
                    )

    def check_settled(self, tp: TopicPartition, start: int, watermark: int) -> None:
        """Every record from `start` up to the watermark has its outcomes."""
        for offset in range(start, watermark):
            source = Position(tp.topic, tp.partition, offset)
            self.expect(self._complete(source), f"the watermark passed {source}, which is open")

    def check_drained(self, settler: Settler) -> None:
        """A drain has settled every record that has its outcomes."""
        tp = settler.tp
        for offset in range(settler.watermark, settler.position):
            source = Position(tp.topic, tp.partition, offset)
            # What ends a lease is the outcome of another record, which it hears of when it is due.
            told = offset not in settler._sizes or source in self._leases
            self.expect(told or not self._complete(source), f"{source} ended, and no one was told")

    def _complete(self, source: Position) -> bool:
        needed = self._needed.get(source)
        if needed is None:
            return False
        of = self._leases.get(source)
        if of is not None and self._outcomes[of].keys() - {_LEASE}:
            return True
        return len(self._outcomes[source]) >= needed

    def _on_records(self, records: Sequence[Record]) -> None:
        for record in records:
            at = Position(record.topic, record.partition, record.offset)
            parsed = parse_source_header(header(record.headers, "src") or b"")
            if record.topic in REQUESTED:
                ident = (header(record.headers, "email-id") or b"").decode()
                # Without a sender it is rejected: one dead record, one event.
                self._needed[at] = 2 * len(self.recipients.get(ident, "?"))
            elif record.topic in (*READY, *RETRY):
                self._needed[at] = 1
            if parsed is not None:
                self._note_outcome(record, at, *parsed)

    def _note_outcome(
        self, record: Record, at: Position, source: Position, index: int | None
    ) -> None:
        rendered = source.topic in REQUESTED
        # What render makes of a request is one record a topic and recipient; dispatch makes one.
        what = (record.topic, index) if rendered else ("", None)
        lease = lease_of(record)
        if lease is not None:
            what = _LEASE
            self._leases[at] = lease.of
        known = self._outcomes[source].get(what)
        self.expect(known is None, f"{source} has two outcomes {what}: at {known} and at {at}")
        self._outcomes[source][what] = at
        copy = (source, index) if rendered else self._copies.get(source)
        if copy is None:
            self.expect(record.topic == DEAD, f"{source} came from nowhere and went to {at}")
            return
        if not rendered:
            self._queued[copy] -= 1
        if record.topic in (*READY, *RETRY):
            self._copies[at] = copy
            self._queued[copy] += 1
        elif record.topic == EVENTS:
            self._note_event(copy, orjson.loads(record.value or b""))

    def _note_event(self, copy: Copy, row: dict[str, str]) -> None:
        kind = Kind(row["kind"])
        if kind not in TERMINAL or kind is Kind.REJECTED:
            return
        self.expect(copy not in self._ended, f"{copy} ended twice: {self._ended.get(copy)}, {kind}")
        self._ended[copy] = kind
        if kind is Kind.DELIVERED:
            self.expect(self._network.delivered[row["rcpt"]], f"{row['rcpt']} never got its mail")

    def _on_commit(self, group: str, tp: TopicPartition, position: Committed) -> None:
        before = self._disk.positions.get((group, tp), Committed(0)).offset
        self.expect(position.offset >= before, f"{group} went back in {tp} from {before}")
        self.check_settled(tp, before, position.offset)
        if position.offset == len(self._disk.records[tp]):
            return  # no record is left whose outcomes the mark could hide
        outputs = self._outputs[group](tp.partition)
        mark = dict(zip(outputs, decode_mark(position.metadata), strict=True))
        for offset in range(position.offset, len(self._disk.records[tp])):
            source = Position(tp.topic, tp.partition, offset)
            for at in self._outcomes[source].values():
                hidden = at.offset < mark[TopicPartition(at.topic, at.partition)]
                self.expect(not hidden, f"the mark of {tp} hides {at}, the outcome of {source}")
