"""What a decision about a reply costs: `python -m bench.replies`.

CPU microseconds of `Classifier.classify`, for every reply of the corpus (tests/fixtures/replies) and
for replies that are made to take long. Of many short rounds the fastest counts for each reply, since a
round that shares its core with others says more about them.
"""

import os
import platform as machine
import statistics
import time

from sealwax.model.reply import Command, Reply
from sealwax.policy.classify.builtin import builtin
from tests.support.reply_corpus import entries

ROUNDS, CALLS = 60, 20


def cost_us(reply: Reply, host: str) -> float:
    classify = builtin().classify
    best = float("inf")
    for _ in range(ROUNDS):
        start = time.thread_time()
        for _ in range(CALLS):
            classify(reply, host)
        best = min(best, time.thread_time() - start)
    return best / CALLS * 1e6


def main() -> None:
    print(f"machine: {os.cpu_count()} cores, {machine.platform()}; load {os.getloadavg()[0]}")
    print(f"Python {machine.python_version()}")
    start = time.thread_time()
    rules = builtin().rules
    print(f"{len(rules)} rules, read and indexed in {(time.thread_time() - start) * 1000:.0f} ms")
    found = entries()
    costs = sorted(cost_us(entry.reply, entry.mx) for entry in found)
    print(
        f"{len(costs)} real replies: {statistics.mean(costs):.1f} us on average, "
        f"{statistics.median(costs):.1f} us median, {costs[-1]:.1f} us at most"
    )
    hostile = {
        "1,000 letters": "x" * 1000,
        "500 words": "x " * 500,
        "every word of the rules, as many as fit": " ".join(
            sorted({w.decode() for r in rules for p in r.phrases for x in p for w in x.split()})
        )[:1000],
    }
    for name, text in hostile.items():
        reply = Reply(Command.RCPT, 550, "", text)
        print(f"{name}: {cost_us(reply, 'gmail-smtp-in.l.google.com'):.1f} us")


if __name__ == "__main__":
    main()
