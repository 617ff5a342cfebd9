"""What is quoted of the output of a child that ended: why it failed."""

from __future__ import annotations

import io

from pytest_speedbench.engines.process.lifetime import how_it_ended, last_output, with_output

CAUSE = "ValueError: no memory for the KV cache: 3 GiB free, 8 GiB needed"


def log(*lines: str) -> io.BytesIO:
    return io.BytesIO("\n".join(lines).encode())


def traceback(last: str, frames: int = 20) -> list[str]:
    return ["Traceback (most recent call last):", *(f"  frame {n}" for n in range(frames)), last]


def test_the_cause_in_a_child_of_the_engine_comes_before_the_end() -> None:
    child = [f"(EngineCore pid=7) ERROR 11-30 [core.py:9] {line}" for line in traceback(CAUSE)]
    lines = last_output(log(*child, *traceback("RuntimeError: see root cause above"))).splitlines()
    assert lines[0] == f"    {CAUSE}"
    assert lines[1] == "    …"
    assert lines[-1] == "    RuntimeError: see root cause above"
    assert len(lines) == 17


def test_a_cause_that_is_quoted_anyway_is_not_repeated() -> None:
    text = last_output(log(*traceback(CAUSE), *traceback(f"RuntimeError: child failed: {CAUSE}")))
    assert text.count(CAUSE) == 1


def test_the_last_two_causes_of_many() -> None:
    earlier = [line for n in range(5) for line in traceback(f"KeyError: {n}")]
    lines = last_output(log(*earlier, *traceback("RuntimeError: the end"))).splitlines()
    assert lines[:3] == ["    KeyError: 3", "    KeyError: 4", "    …"]


def test_a_process_that_printed_nothing() -> None:
    assert with_output("it ended", last_output(log("why"))) == "it ended; its last output:\n    why"
    assert with_output("it ended", last_output(log())) == "it ended; it printed nothing"


def test_a_line_without_an_end_is_cut() -> None:
    text = last_output(log("OSError: " + "x" * 5000, *traceback("y" * 9000)))
    assert len(text) < 4600
    assert text.startswith("    OSError: xxx")


def test_a_kill_is_put_down_to_memory_only_where_nothing_else_is_said() -> None:
    assert "memory runs out" in how_it_ended(-9, "    loading weights")
    assert how_it_ended(-9, f"    {CAUSE}") == "by signal SIGKILL"
