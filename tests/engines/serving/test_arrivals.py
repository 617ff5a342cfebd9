"""The time of arrival does not depend on how long other streams take to read and to parse."""

from __future__ import annotations

import asyncio
import socket
import time

from pytest_speedbench.engines.serving.arrivals import ArrivalClock

PARSING = 0.002


def test_what_was_there_before_a_pass_arrived_when_the_pass_began() -> None:
    clock = ArrivalClock()
    seen: list[float] = []
    resumed: list[float] = []

    async def stream(reader: asyncio.StreamReader) -> None:
        await reader.readexactly(1)
        resumed.append(time.perf_counter())
        seen.append(clock.arrived)
        time.sleep(PARSING)

    async def two_rounds() -> list[float]:
        pairs = [socket.socketpair() for _ in range(3)]
        opened = [await asyncio.open_connection(sock=mine) for _, mine in pairs]
        sent = []
        for _ in range(2):
            waiting = [asyncio.create_task(stream(reader)) for reader, _ in opened]
            await asyncio.sleep(0)
            for theirs, _ in pairs:
                theirs.send(b"x")
            sent.append(time.perf_counter())
            await asyncio.gather(*waiting)
        for (theirs, _), (_, writer) in zip(pairs, opened, strict=True):
            writer.close()
            theirs.close()
        return sent

    with asyncio.Runner(loop_factory=lambda: asyncio.SelectorEventLoop(clock)) as runner:
        sent = runner.run(two_rounds())
    first, second = seen[:3], seen[3:]
    assert len(set(first)) == len(set(second)) == 1
    assert sent[0] <= first[0] <= resumed[0]
    assert sent[1] <= second[0] <= resumed[3]
    assert second[0] >= first[0] + 3 * PARSING
