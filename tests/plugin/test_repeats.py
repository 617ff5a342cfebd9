"""Samples too few to hold a batch size are repeated for throughput, and counted once for AL."""

from __future__ import annotations

from .conftest import Project, text_of


def test_repeated_samples_time_a_steady_window_and_leave_acceptance_alone(project: Project) -> None:
    path = project.split("mine.jsonl", 8)
    project.gate(f"bs=4, method=['none', 'eagle3'], split='{path}'")
    project.run("--benchmark-autosave", "--speed-rounds=0").assert_outcomes(passed=2)
    result = project.run("--benchmark-autosave", "--speed-rounds=2")
    result.assert_outcomes(passed=2)
    assert "8 samples, repeated to 16 a round to hold BS 4" in text_of(result)
    once, repeated = (project.records(path) for path in project.saved)
    for before, after in zip(once, repeated, strict=True):
        assert [r.requests for r in after.rounds] == [16, 16]
        assert all(r.steady for r in after.rounds)
        assert sorted(r.sample for r in after.requests) == sorted(r.sample for r in before.requests)
        assert {(r.sample, r.steps, r.ids) for r in after.requests} == {
            (r.sample, r.steps, r.ids) for r in before.requests
        }


def test_samples_that_cannot_fill_the_batch_are_not_repeated(project: Project) -> None:
    path = project.split("mine.jsonl", 8)
    project.gate(f"bs=16, split='{path}'")
    result = project.run("--benchmark-autosave", "--speed-rounds=2")
    result.assert_outcomes(passed=1)
    assert "8 samples cannot fill BS 16" in text_of(result)
    assert [r.requests for r in project.records()[0].rounds] == [8, 8]
