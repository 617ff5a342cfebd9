"""Tests that an engine adapter runs against itself.

    pytest --pyargs pytest_speedbench.conformance \\
        --speed-engine NAME --speed-model MODEL --speed-method ngram,none

Each test is one property of ``docs/writing-an-engine.md``. What the adapter declares it cannot do
is a skip with the reason. Like the ready-made gates it stands above every other room: it judges
with the project's own statistics, and no engine imports it.
"""
