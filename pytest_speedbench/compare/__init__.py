"""Compares runs: pairing, error rates, gate, attribution, one verdict per metric.

``pytest_speedbench.compare`` is this package and a public function, so the package can be called.
"""

from pytest_speedbench._callable import make_callable

make_callable(__name__, "pytest_speedbench.compare.api:compare")
