"""Runs a server, and ends it with all its children when the process that wanted it has ended.

Started by :mod:`~.process` as
``python -m pytest_speedbench.engines.serving.supervisor LIFELINE COMMAND…``.
It leads the server's process group and runs as long as the server, so it imports little.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from types import FrameType

from pytest_speedbench.engines.process.lifetime import (
    adopt_orphans,
    descendants,
    end_group_with,
    end_with_parent_thread,
    kill_all,
)


def main(arguments: Sequence[str]) -> int:
    lifeline, command = int(arguments[0]), arguments[1:]
    adopt_orphans()
    # The parent handles Ctrl-C and shuts the server down.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        # The server ends with this process if this one is killed.
        child = subprocess.Popen(command, preexec_fn=end_with_parent_thread)
    except OSError as error:
        sys.stderr.write(f"{command[0]}: {error.strerror}\n")
        return 127

    def forward(number: int, frame: FrameType | None) -> None:
        child.send_signal(number)

    signal.signal(signal.SIGTERM, forward)
    end_group_with(lifeline)
    code = child.wait()
    kill_all(descendants(os.getpid()))
    return 128 - code if code < 0 else code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
