"""How many emails the API accepts: `python bench/accept.py [directory]`.

Starts `python -m sealwax.api` on an empty data directory and one CPU, and sends to it from this
process on another. Every answer is a 202, which means a durable append. Clients keep their
connections; each sends its next request when it has the answer to the last.
"""

import json
import os
import platform
import selectors
import shutil
import signal
import socket
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

from connectors.log import LogSettings, open_log
from connectors.log.port import TopicPartition
from sealwax.model.topics import Stream, requested
from sealwax.store.relational import RelationalSettings, open_store, sqlite_url

ROOT = Path(__file__).parents[1]
ROUNDS = 5
TICKS_PER_S = os.sysconf("SC_CLK_TCK")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Api:
    """The API in a process of its own, pinned to the first CPU where there are several."""

    def __init__(self, folder: Path) -> None:
        store = open_store(
            RelationalSettings(sqlite_url(folder / "sealwax.db"), folder / "master.key")
        )
        self.key = store.create_key("default", "bench").key
        store.add_domain("default", "acme.test", trusted=True)
        store.close()
        self.port = free_port()
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("SEALWAX_")}
        settings = {
            "SEALWAX_DATA_DIR": str(folder),
            "SEALWAX_HTTP": f"127.0.0.1:{self.port}",
            "SEALWAX_MIN_FREE": "0B",
        }
        self.process = subprocess.Popen(
            [sys.executable, "-m", "sealwax.api"], cwd=ROOT, env=inherited | settings
        )
        cpus = sorted(os.sched_getaffinity(0))
        if len(cpus) > 1:
            os.sched_setaffinity(self.process.pid, cpus[:1])
            os.sched_setaffinity(0, cpus[1:])
        deadline = time.monotonic() + 20
        while not (folder / "run" / "api.ready").exists():
            assert time.monotonic() < deadline, "the API did not start"
            time.sleep(0.05)

    def cpu_s(self) -> float:
        """Of all its threads, the system's share included."""
        stat = Path(f"/proc/{self.process.pid}/stat").read_text()
        fields = stat[stat.rfind(")") + 2 :].split()
        return (int(fields[11]) + int(fields[12])) / TICKS_PER_S

    def peak_rss_mb(self) -> float:
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        line = next(line for line in status.splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) / 1024

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(30) == 0


def request(api: Api, path: str, body: bytes) -> bytes:
    head = (
        f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {api.key}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


class Client:
    """One connection; counts the answers that are complete."""

    def __init__(self, port: int, message: bytes) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._message = message
        self._read = b""
        self.sent_at = 0.0

    def send(self) -> None:
        self.sent_at = time.perf_counter()
        self.socket.sendall(self._message)

    def receive(self) -> bytes | None:
        """The body of the answer once all of it is there."""
        self._read += self.socket.recv(1 << 18)
        head, found, body = self._read.partition(b"\r\n\r\n")
        if not found:
            return None
        length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
        if len(body) < length:
            return None
        assert head.startswith(b"HTTP/1.1 202"), (head, body)
        self._read = b""
        return body


def run(api: Api, message: bytes, connections: int, count: int) -> tuple[float, float, list[float]]:
    """Requests/s, CPU microseconds a request, and milliseconds each took, sorted."""
    selector = selectors.DefaultSelector()
    clients = [Client(api.port, message) for _ in range(connections)]
    cpu_s, start_s, sent = api.cpu_s(), time.perf_counter(), 0
    taken: list[float] = []
    for client in clients:
        selector.register(client.socket, selectors.EVENT_READ, client)
        client.send()
        sent += 1
    while len(taken) < count:
        for key, _ in selector.select():
            client = key.data
            if client.receive() is None:
                continue
            taken.append((time.perf_counter() - client.sent_at) * 1e3)
            if sent < count:
                client.send()
                sent += 1
    elapsed_s = time.perf_counter() - start_s
    for client in clients:
        client.socket.close()
    return count / elapsed_s, (api.cpu_s() - cpu_s) / count * 1e6, sorted(taken)


def email(html_bytes: int, **fields: object) -> bytes:
    text = "Grüße an alle, die das hier lesen. "
    return json.dumps(
        {
            "from": "Acme <hello@acme.test>",
            "to": ["ada@example.test"],
            "subject": "Your order",
            "html": "<p>" + text * (html_bytes // len(text.encode())) + "</p>",
            "tags": [{"name": "kind", "value": "order"}],
            **fields,
        },
        ensure_ascii=False,
    ).encode()


def measure(
    api: Api, title: str, message: bytes, connections: int, count: int, per_call: int = 1
) -> None:
    run(api, message, connections, max(connections, count // 10))  # connections, caches
    rounds = [run(api, message, connections, count) for _ in range(ROUNDS)]
    rate = statistics.median(r[0] for r in rounds) * per_call
    cpu_us = statistics.median(r[1] for r in rounds) / per_call
    taken = sorted(ms for r in rounds for ms in r[2])
    p50, p99 = taken[len(taken) // 2], taken[len(taken) * 99 // 100]
    print(
        f"{title:<52} {rate:>8,.0f} emails/s  {cpu_us:6.1f} us CPU an email  "
        f"p50 {p50:6.1f} ms  p99 {p99:6.1f} ms"
    )


def stored(folder: Path) -> int:
    log = open_log(LogSettings(folder / "log"))
    topic = requested(Stream.TRANSACTIONAL)
    ends = sum(log.end_offset(TopicPartition(topic, n)) for n in range(log.partitions(topic)))
    log.close()
    return ends


def main() -> None:
    folder = Path(tempfile.mkdtemp(dir=sys.argv[1] if len(sys.argv) > 1 else None)) / "data"
    folder.mkdir()
    print(
        f"{platform.machine()}, {os.cpu_count()} cores, Linux {platform.release()}, "
        f"Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}, "
        f"Granian {version('granian')}, Litestar {version('litestar')}, uvloop {version('uvloop')}; "
        f"API on one CPU, {ROUNDS} rounds, medians"
    )
    api = Api(folder)
    try:
        small, large = email(1_000), email(5_000)
        filled = email(5_000, subject="Hi {{name}}", data={"name": "Ada"})
        single = "/v1/emails"
        measure(api, "single, 1 KB, 64 clients", request(api, single, small), 64, 20_000)
        measure(api, "single, 5 KB, 64 clients", request(api, single, large), 64, 20_000)
        measure(api, "single, 5 KB, 200 clients", request(api, single, large), 200, 20_000)
        measure(api, "single, 5 KB, 1 client", request(api, single, large), 1, 1_000)
        measure(api, "single, 5 KB with data, 64 clients", request(api, single, filled), 64, 20_000)
        for count in (100, 1_000):
            body = b"[" + b",".join([large] * count) + b"]"
            message = request(api, "/v1/emails/batch", body)
            measure(api, f"batch of {count}, 5 KB, 4 clients", message, 4, 20_000 // count, count)
        print(f"peak RSS of the API {api.peak_rss_mb():.0f} MB")
    finally:
        api.stop()
    print(f"{stored(folder):,} requests stand in the log")
    shutil.rmtree(folder.parent)


if __name__ == "__main__":
    main()
