"""``python -m sglang.launch_server``: the fake server, with the flags that it was started with."""

from __future__ import annotations

import argparse
import sys
import threading
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[4]))

from tests.engines.serving.fake import serving
from tests.engines.serving.sglang_fake import Sglang

parser = argparse.ArgumentParser(allow_abbrev=False)
parser.add_argument("--host", required=True)
parser.add_argument("--port", type=int, required=True)
parser.add_argument("--model-path", required=True)
for number in ("max-running-requests", "random-seed", "tp-size"):
    parser.add_argument(f"--{number}", type=int)
for number in ("num-steps", "eagle-topk", "num-draft-tokens"):
    parser.add_argument(f"--speculative-{number}", type=int)
for text in ("algorithm", "draft-model-path"):
    parser.add_argument(f"--speculative-{text}")
for switch in ("enable-metrics", "incremental-streaming-output", "disable-radix-cache"):
    parser.add_argument(f"--{switch}", action="store_true")
given = vars(parser.parse_args())
fake = Sglang(incremental=given["incremental_streaming_output"], metrics=given["enable_metrics"])
fake.info |= given
with serving(fake.script, given["port"]):
    threading.Event().wait()
