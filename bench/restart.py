"""From a start to the first mail, against the backlog: `python -m bench.restart`.

Requests stand in the log, as accepted and not rendered; then `sealwax up` starts. Medians.
"""

import statistics
import tempfile
import time
from pathlib import Path

from tests.support.platform import running_platform
from tests.support.requested import append_requests
from tests.support.sink import running_sink
from tests.support.waiting import wait_until

BACKLOGS = (1, 10_000, 100_000)
ROUNDS = 3


def first_mail_s(backlog: int) -> float:
    """Seconds from the start of `up` to the first mail at the sink."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        append_requests(folder / "data", backlog)
        with running_sink(folder / "sink") as sink:
            routes = {"SEALWAX_SMTP_ROUTES": f"*.sink.test={sink.address}"}
            began = time.time()  # the sink's clock
            with running_platform(folder / "data", routes, domain="other.test"):
                wait_until(sink.index, 60, "the first mail")
                first: float = sink.index()[0]["ts"]
                return first - began


def main() -> None:
    print("backlog, mails   first mail after a start, s")
    for backlog in BACKLOGS:
        taken = [first_mail_s(backlog) for _ in range(ROUNDS)]
        print(f"{backlog:>14,}   {statistics.median(taken):.1f}", flush=True)


if __name__ == "__main__":
    main()
