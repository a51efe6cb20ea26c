"""What the bodies of requests may hold together, and who waits for whom."""

import asyncio
import threading
from collections.abc import Coroutine
from datetime import timedelta
from pathlib import Path
from typing import Any

import orjson
import pytest

from sealwax.api.problems import ProblemError
from sealwax.api.room import Room
from tests.unit.api.conftest import EMAIL, Api

LARGE = 32_000_000
SMALL = 1_000_000
LONG, SHORT = timedelta(seconds=60), timedelta(seconds=0.05)


async def turn() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


def run(story: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(story, 20))


def test_a_body_waits_for_room_and_gets_it_when_another_one_is_answered():
    async def story() -> None:
        room = Room(LONG)
        await room.take("a", LARGE)
        await room.take("b", LARGE)
        third = asyncio.ensure_future(room.take("c", LARGE))
        await turn()
        assert not third.done()
        room.give_back("b", LARGE)
        await third

    run(story())


def test_a_tenant_has_one_large_body_at_a_time_and_others_have_theirs_meanwhile():
    async def story() -> None:
        room = Room(LONG)
        await room.take("a", LARGE)
        again = asyncio.ensure_future(room.take("a", SMALL + 1))
        await turn()
        assert not again.done()
        await room.take("b", LARGE)
        room.give_back("a", LARGE)
        await again

    run(story())


def test_large_bodies_keep_no_small_ones_waiting():
    async def story() -> None:
        room = Room(SHORT)
        await room.take("a", LARGE)
        await room.take("b", LARGE)
        for _ in range(16):
            await room.take("a", SMALL)
        with pytest.raises(ProblemError) as refused:
            await room.take("c", SMALL)
        assert (refused.value.problem.status, refused.value.headers["Retry-After"]) == (503, "2")

    run(story())


def test_who_waits_and_goes_away_leaves_the_room_to_others():
    async def story() -> None:
        room = Room(LONG)
        await room.take("a", LARGE)
        gone = asyncio.ensure_future(room.take("a", LARGE))
        await turn()
        gone.cancel()
        await turn()
        room.give_back("a", LARGE)
        await room.take("a", LARGE)
        await room.take("b", LARGE)

    run(story())


@pytest.mark.slow
def test_large_batches_at_once_are_all_taken_within_the_memory_that_is_stated(fresh: Api):
    email = {**{k: v for k, v in EMAIL.items() if k != "html"}, "text": "x" * 30_000}
    body = orjson.dumps([email] * 1_000)
    statuses: list[int] = []

    def send() -> None:
        with fresh.client(fresh.key) as client:
            statuses.append(client.post("/v1/emails/batch", content=body).status_code)

    threads = [threading.Thread(target=send) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    status = Path(f"/proc/{fresh.process.pid}/status").read_text()
    peak_mb = int(status.partition("VmHWM:")[2].split()[0]) >> 10
    print(f"6 batches of {len(body) >> 20} MB: {peak_mb} MB at most")
    assert statuses == [202] * 6
    assert peak_mb < 500  # docs/operations.md states it
