"""Runs `sealwax up` over four small programs instead of the real ones.

The supervisor, its checks and its files are the real ones. Each program writes a line to its log
when it starts and when it gets SIGTERM, and behaves as FAKE_<NAME> says: `ok`, `dies` (at once),
`deaf` (ignores SIGTERM), `slow` (needs a second to end), `held` (ends when a file `let-go` is there).
"""

import os
import signal
import sys
import time
from pathlib import Path

from sealwax.cli.up import run
from sealwax.config import child_environment, start
from sealwax.errors import SealwaxError
from sealwax.store.processes import NAMES, ProcessFiles


def main() -> None:
    settings = start("up")
    here = str(Path(__file__))
    try:
        run(settings, child_environment({}, settings), {name: (here, name) for name in NAMES})
    except SealwaxError as error:
        sys.exit(f"sealwax: {error}")


def program(name: str) -> None:
    behaviour = os.environ.get(f"FAKE_{name.upper()}", "ok")
    data_dir = Path(os.environ["SEALWAX_DATA_DIR"])

    def note(what: str) -> None:
        with (data_dir / f"{name}.log").open("a") as log:
            log.write(f"{what} {os.getpid()}\n")

    stopped = []
    signal.signal(signal.SIGTERM, lambda *_: stopped.append(True))
    note("start")
    if behaviour == "dies":
        sys.exit(3)
    ProcessFiles(data_dir).mark_ready(name)
    while not stopped or behaviour == "deaf":
        time.sleep(0.02)
    note("term")
    if behaviour == "slow":
        time.sleep(1)
    while behaviour == "held" and not (data_dir / "let-go").exists():
        time.sleep(0.02)
    note("end")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        program(sys.argv[1])
    else:
        main()
