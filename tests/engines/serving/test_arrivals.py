"""The time of arrival does not depend on how long other streams take to parse."""

from __future__ import annotations

import asyncio
import time

from pytest_speedbench.engines.serving.arrivals import ArrivalClock


def test_streams_of_one_pass_share_their_time_and_the_next_pass_has_a_later_one() -> None:
    clock = ArrivalClock()

    async def stream(event: asyncio.Event, seen: list[float]) -> None:
        await event.wait()
        seen.append(clock.now())
        time.sleep(0.002)  # parsing

    async def passes() -> list[list[float]]:
        found: list[list[float]] = []
        for _ in range(2):
            event, seen = asyncio.Event(), []
            tasks = [asyncio.create_task(stream(event, seen)) for _ in range(3)]
            await asyncio.sleep(0)
            event.set()
            await asyncio.gather(*tasks)
            found.append(seen)
        return found

    first, second = asyncio.run(passes())
    assert len(set(first)) == len(set(second)) == 1
    assert second[0] >= first[0] + 3 * 0.002
