"""Ready-made gates for any model, without a line of test code.

pytest --pyargs pytest_speedbench.suites --speed-model MODEL
"""
