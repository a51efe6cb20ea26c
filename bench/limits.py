"""Figures of shared limits: `python -m bench.limits [--seconds 10] [--processes 2]`.

First what asking a limit costs a lane, in CPU microseconds of its thread, with limits of the process
itself and with leased ones. Then processes that send a given number of mails a second together, to 20
sites by their limits, with a real Valkey server between them: what a mail costs in calls and in CPU.
"""

import argparse
import heapq
import json
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

from flows.operators.limit_set import LimitSet
from sealwax.policy.shaping.builtin import builtin
from sealwax.policy.shaping.shape import Scope
from sealwax.policy.throttle import Rate
from sealwax.store.limits import InProcessLimits, Limits
from sealwax.store.limits.redis import RedisLimits, RedisSettings
from tests.support.valkey import running_valkey

SITES = 20
_DECISIONS = 20_000


def now_ms() -> float:
    return time.monotonic() * 1000


def cost(limits: Limits, ready: Callable[[], object]) -> float:
    """CPU microseconds of the asking thread a message: room, token, session, its end."""
    permits = limits.permits("site:bench", 20)
    rate = limits.rate("site:bench", Rate(0.1, 1_000))
    permits.room(20, now_ms())
    ready()
    granted = cpu_s = 0.0
    for _ in range(40):
        time.sleep(0.1)  # tokens come
        begun = time.thread_time()
        for _ in range(200):
            now = now_ms()
            room = permits.room(1, now)
            taken = rate.take(room, now).granted if room else 0
            permits.take(taken)
            permits.give_back(taken)
            granted += taken
        cpu_s += time.thread_time() - begun
    print(f"  {granted / 8_000:.0%} granted")
    return cpu_s / 8_000 * 1e6


def cost_of_a_site(limits: Limits, hosts: tuple[str, ...]) -> float:
    """CPU microseconds of a message's share of all limits of its site, taken and given back."""
    shape = builtin().of_site(hosts)
    named = {Scope.SITE: hosts[0], Scope.PROVIDER: shape.provider}
    site = LimitSet(limits, shape.bounds, named, hosts[0])
    fastest = float("inf")
    at_ms = now_ms()
    for _ in range(5):
        began = time.process_time()
        for _ in range(_DECISIONS):
            at_ms += 20  # slower than the rate, so that each goes
            site.give_back(site.grant(1, 0, at_ms).opened)
        fastest = min(fastest, time.process_time() - began)
    return fastest / _DECISIONS * 1e6


def work(url: str, seconds: float, per_second: float, site_rate: float) -> None:
    """One process: mails for all sites at a rate, each in a session for 20 to 80 ms."""
    settings = RedisSettings(url, timedelta(seconds=1), "bench")
    limits = RedisLimits.open(settings, lambda *_: None)
    time.sleep(3.5)  # a server that is new says nothing at first
    rate = Rate(1000 / site_rate, max(1, int(site_rate / 10)))
    sites = [
        (limits.permits(f"site:{n}", 20), limits.rate(f"site:{n}", rate)) for n in range(SITES)
    ]
    waiting = [0] * SITES
    sessions: list[tuple[float, int]] = []
    calls, cpu, begun = limits.counts.calls, time.process_time(), time.monotonic()
    asking = time.thread_time()
    sent, due = 0, 0.0
    while time.monotonic() - begun < seconds:
        due = (time.monotonic() - begun) * per_second
        while sum(waiting) + sent < due:
            waiting[random.randrange(SITES)] += 1
        now = now_ms()
        while sessions and sessions[0][0] <= now:
            sites[heapq.heappop(sessions)[1]][0].give_back(1)
        for n, (permits, tokens) in enumerate(sites):
            room = permits.room(waiting[n], now)
            taken = tokens.take(room, now).granted if room else 0
            permits.take(taken)
            waiting[n] -= taken
            sent += taken
            for _ in range(taken):
                heapq.heappush(sessions, (now + random.uniform(20, 80), n))
        time.sleep(0.005)
    asked, used = time.thread_time() - asking, time.process_time() - cpu
    print(
        json.dumps(
            {
                "sent": sent,
                "left": sum(waiting),
                "calls": limits.counts.calls - calls,
                "thread_us": (used - asked) / max(1, sent) * 1e6,
            }
        )
    )
    limits.close()


def load(url: str, arguments: argparse.Namespace, per_second: float, site_rate: float) -> None:
    command = [sys.executable, "-m", "bench.limits", "--worker", url]
    each = ["--seconds", str(arguments.seconds), "--rate", str(per_second / arguments.processes)]
    children = [
        subprocess.Popen(
            [*command, *each, "--site-rate", str(site_rate)], stdout=subprocess.PIPE, text=True
        )
        for _ in range(arguments.processes)
    ]
    found = [json.loads(child.communicate()[0].splitlines()[0]) for child in children]
    sent = sum(one["sent"] for one in found)
    calls = sum(one["calls"] for one in found)
    thread = sum(one["thread_us"] for one in found) / len(found)
    offered, limit = f"{per_second:g}/s", f"{site_rate:g}/s"
    print(
        f"{offered:>8} {limit:>12} {sent / arguments.seconds:>8.0f} {sum(o['left'] for o in found):>8}"
        f" {calls / sent:>12.3f} {thread:>20.1f}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--worker")
    parser.add_argument("--rate", type=float)
    parser.add_argument("--site-rate", type=float)
    arguments = parser.parse_args()
    if arguments.worker:
        work(arguments.worker, arguments.seconds, arguments.rate, arguments.site_rate)
        return
    with tempfile.TemporaryDirectory() as folder, running_valkey(Path(folder)) as valkey:
        own = cost(InProcessLimits(), lambda: None)
        settings = RedisSettings(valkey.url, timedelta(seconds=1), "cost")
        leased = RedisLimits.open(settings, lambda *_: None)
        shared = cost(leased, lambda: time.sleep(4))
        leased.close()
        print(
            f"a lane's round of room, token, begin and end: {own:.1f} us alone, {shared:.1f} us leased"
        )
        for hosts in (("mx.a.test",), builtin().sample("contoso.com")):
            took = cost_of_a_site(InProcessLimits(), hosts)
            print(f"all limits of the site {hosts[0]}, alone: {took:.1f} us")
        print(
            f"{arguments.processes} processes, {SITES} sites of 20 connections, {arguments.seconds:g} s:"
        )
        print(" offered  limit/site   sent/s     left   calls/mail  us/mail of the thread")
        for per_second, site_rate in ((1_000, 100), (1_000, 50), (1_000, 30), (100, 100)):
            load(valkey.url, arguments, per_second, site_rate)


if __name__ == "__main__":
    main()
