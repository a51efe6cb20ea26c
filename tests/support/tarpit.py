"""A peer that accepts connections and never says a word."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Tarpit:
    """Accepts, reads and never answers."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self.connections: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                self.connections.append(self._listener.accept()[0])
            except OSError:
                return

    def close(self) -> None:
        self._listener.close()
        for connection in self.connections:
            connection.close()


@contextmanager
def tarpit() -> Iterator[Tarpit]:
    made = Tarpit()
    try:
        yield made
    finally:
        made.close()
