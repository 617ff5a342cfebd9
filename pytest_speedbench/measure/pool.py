"""Started engines: each configuration at most once, closed when it is no longer needed."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from pytest_speedbench.engines.process.lifetime import descendants
from pytest_speedbench.engines.protocol import Engine, EngineConfig
from pytest_speedbench.engines.registry import engine_type, open_engine
from pytest_speedbench.errors import EngineError, EngineUnavailable

# A second engine takes about what the first one took; this much must be left over.
_HEADROOM = 1.25
_PAGE_KIB = 4
_WHOLE_DEVICE = 0.95


class EnginePool:
    """Opens engines on demand; ``timeout`` in seconds bounds starts and silences."""

    def __init__(self, timeout: float) -> None:
        self.timeout = timeout
        self._open: dict[EngineConfig, Engine] = {}

    def get(self, config: EngineConfig) -> Engine:
        """The started engine of ``config``; starts it if it is not running."""
        if config not in self._open:
            for other in self._open:  # the same one, started under another environment
                if _alike(other, config):
                    self.close(other)
                    break
            self._open[config] = open_engine(config, self.timeout)
        return self._open[config]

    def running(self, config: EngineConfig) -> bool:
        return config in self._open

    def close(self, config: EngineConfig) -> None:
        """Ends the engine of ``config``, if it runs. Engines that died are closed the same way."""
        engine = self._open.pop(config, None)
        if engine is not None:
            engine.close()

    def close_except(self, kept: Collection[EngineConfig]) -> None:
        """Ends every engine that is not in ``kept``, at once: each may take seconds to end."""
        wanted = [replace(config, surroundings=()) for config in kept]
        unwanted = [c for c in self._open if replace(c, surroundings=()) not in wanted]
        if not unwanted:
            return
        with ThreadPoolExecutor(len(unwanted)) as executor:
            for closed in [executor.submit(self.close, config) for config in unwanted]:
                with contextlib.suppress(OSError):
                    closed.result()

    @contextlib.contextmanager
    def asking(self, configs: Collection[EngineConfig]) -> Iterator[None]:
        """Closes the engines of ``configs`` if what is asked of them is broken off: a reply still
        to come would be taken for that of the next request."""
        try:
            yield
        except EngineUnavailable:
            raise
        except EngineError:
            for config in configs:
                self.close(config)
            raise
        except BaseException:  # a time limit, pytest.fail, Ctrl-C
            self.close_all()
            raise

    def close_busy(self) -> None:
        """Ends every engine that still has requests in flight when its test is over."""
        for config, engine in list(self._open.items()):
            if getattr(engine, "in_flight", 0):
                self.close(config)

    def close_all(self) -> None:
        self.close_except(())

    def room_beside(self, config: EngineConfig, others: Collection[EngineConfig]) -> bool:
        """Whether engines like that of ``config`` fit beside it for all of ``others``.

        On the CPU, what the one of ``config`` holds is compared with what the system has left. A
        GPU engine takes a fixed share of its device: others fit only if the user has set a share
        that leaves enough memory, or a size.
        """
        if config.url:  # servers that run already
            return True
        engine = self.get(config)
        missing = sum(not self.running(other) for other in others)
        if engine.info.device != "cpu":
            every, adapter = (config, *others), engine_type(config.engine)
            shares = [one.option(adapter.memory_share) for one in every]
            fixed = all(one.option(adapter.memory_size) is not None for one in every)
            known = [share for share in shares if isinstance(share, float)]
            return fixed or (len(known) == len(every) and sum(known) <= _WHOLE_DEVICE)
        return _room_beside(getattr(engine, "pid", None), missing)


def make_room(engine: str, count: int) -> str:
    """How ``count`` engines are given room beside one another."""
    adapter = engine_type(engine)
    if not adapter.memory_share:
        return "use a smaller model, or a device with more memory"
    return (
        "give each a share or a size with --speed-engine-arg, such as "
        f"{adapter.memory_share}={int(100 * _WHOLE_DEVICE / count) / 100} or "
        f"{adapter.memory_size}=N"
    )


def _alike(config: EngineConfig, other: EngineConfig) -> bool:
    return replace(config, surroundings=()) == replace(other, surroundings=())


def _room_beside(pid: int | None, count: int) -> bool:
    from pytest_speedbench.measure.memory import available_memory

    left = available_memory()
    if pid is None or left is None:
        return True
    resident = sum(_resident(process) for process in (pid, *descendants(pid)))
    return left > _HEADROOM * count * resident * _PAGE_KIB * 1024


def _resident(pid: int) -> int:
    """Resident pages of a process; 0 where it is gone, or the system does not report it."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1])
    except OSError:
        return 0
