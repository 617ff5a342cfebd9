"""One pytest session: its plan, its measurements, its verdicts, and how workers share it."""
