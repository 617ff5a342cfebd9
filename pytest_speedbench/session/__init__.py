"""One pytest session: its cases, measurements, verdicts, and how xdist workers share it."""
