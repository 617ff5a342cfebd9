"""Ready-made gates: ``pytest --pyargs pytest_speedbench.suites --speed-model MODEL``."""
