"""A test suite for engine adapters.

    pytest --pyargs pytest_speedbench.conformance \\
        --speed-engine NAME --speed-model MODEL --speed-method ngram,none

Each test is one property of the contract in ``docs/writing-an-engine.md``. What the adapter
declares it cannot do is a skip with the reason. No engine imports the suite: it uses the checks of
``measure`` and ``compare``.
"""
