"""Load, rounds, traces, metrics, and checks against the counters of the engine."""
