"""A DNS server on loopback that answers from a table."""

import socket
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset

SILENT = "silent"
SERVFAIL = "servfail"
# (name, type) -> the records' texts; a name that is in no key does not exist.
Zone = Mapping[tuple[str, str], list[str] | str]


class DnsServer:
    """Answers from `zone`, which a test may change; counts what it was asked."""

    def __init__(self, zone: Zone, ttl_s: int) -> None:
        self.zone = zone
        self.asked: Counter[tuple[str, str]] = Counter()
        self._ttl_s = ttl_s
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            wire, client = self._socket.recvfrom(4096)
            if not wire:
                return
            answer = self._answer(dns.message.from_wire(wire))
            if answer is not None:
                self._socket.sendto(answer.to_wire(), client)

    def _answer(self, query: dns.message.Message) -> dns.message.Message | None:
        question = query.question[0]
        name = question.name.to_text(omit_final_dot=True).lower()
        kind = dns.rdatatype.to_text(question.rdtype)
        self.asked[name, kind] += 1
        records = self.zone.get((name, kind), [])
        response = dns.message.make_response(query)
        response.flags |= dns.flags.RA
        if records == SILENT:
            return None
        if records == SERVFAIL:
            response.set_rcode(dns.rcode.SERVFAIL)
        elif records:
            response.answer.append(
                dns.rrset.from_text_list(question.name, self._ttl_s, "IN", kind, list(records))
            )
        elif not any(owner == name for owner, _ in self.zone):
            response.set_rcode(dns.rcode.NXDOMAIN)
        return response

    def stop(self) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as waker:
            waker.sendto(b"", ("127.0.0.1", self.port))
        self._thread.join(10)
        self._socket.close()


@contextmanager
def dns_server(zone: Zone, ttl_s: int = 300) -> Iterator[DnsServer]:
    server = DnsServer(zone, ttl_s)
    try:
        yield server
    finally:
        server.stop()
