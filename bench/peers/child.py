"""The program around one recorder: ``python -m peers.child NAME WORKLOAD DIRECTORY``.

Reads one order a line from standard input and answers each with a line, both JSON; ends with its input. The first
line says which version it is.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from dataclasses import asdict
from pathlib import Path

from content import Content
from workloads import WORKLOADS

from . import recorders
from .recorder import Order


def main() -> None:
    name, workload, directory = sys.argv[1:]
    # What libraries print must not come between the answers.
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    work = WORKLOADS[workload]
    recorder = recorders.find(name)(work, Content(work, Path(directory)), Path(directory))
    try:
        print(json.dumps({"version": recorder.version()}), file=answers)
        for line in sys.stdin:
            try:
                answer = asdict(recorder.record(Order(**json.loads(line))))
            except Exception:
                answer = {"error": traceback.format_exc()}
            print(json.dumps(answer), file=answers)
    finally:
        recorder.close()


if __name__ == "__main__":
    main()
