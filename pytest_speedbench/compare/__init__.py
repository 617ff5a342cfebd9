"""Compares runs: pairing, error rates, gate, attribution, one verdict per metric."""
