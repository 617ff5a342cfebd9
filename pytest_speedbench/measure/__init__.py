"""Load, rounds, traces, metrics, and checks against the counters of the engine.

``pytest_speedbench.measure`` is this package and a public function, so the package can be called.
"""

from pytest_speedbench._callable import make_callable

make_callable(__name__, "pytest_speedbench.session.standalone:measure")
