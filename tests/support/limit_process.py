"""A process that uses as many permits as it gets: `python -m tests.support.limit_process URL MOST FILE`.

Each use lasts 20 to 60 ms. FILE gets a line for each begin and end: monotonic time, and 1 or -1.
"""

import random
import signal
import sys
import threading
from datetime import timedelta
from pathlib import Path

from sealwax import clock
from sealwax.store.limits.redis import RedisLimits, RedisSettings


def main() -> None:
    url, most, file = sys.argv[1:]
    stop, room = threading.Event(), threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    settings = RedisSettings(url, timedelta(seconds=1))
    limits = RedisLimits.open(settings, lambda *_: room.set())
    permits = limits.permits("site:a", int(most))
    ends: list[float] = []
    with Path(file).open("a", buffering=1) as events:
        while not stop.is_set():
            now = clock.monotonic()
            for at in [at for at in ends if at <= now]:
                ends.remove(at)
                events.write(f"{clock.monotonic()} -1\n")
                permits.give_back(1)
            # Dated before they are asked for: where the process is stopped in the next lines, they
            # were used by then.
            now = clock.monotonic()
            count = permits.room(20, now * 1000)
            permits.take(count)
            events.write(f"{now} 1\n" * count)
            ends += [now + random.uniform(0.02, 0.06) for _ in range(count)]
            room.wait(0.005)
            room.clear()
    limits.close()


if __name__ == "__main__":
    main()
