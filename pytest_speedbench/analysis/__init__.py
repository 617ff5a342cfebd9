"""Analyses of measured and saved runs: they take records and return data, and print nothing."""
