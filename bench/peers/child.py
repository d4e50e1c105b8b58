"""The program around one recorder: ``python -m peers.child NAME WORKLOAD CONTENT DIRECTORY``.

Its orders and answers are those of ``recorder.py``; the first answer says which version it is.
"""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path

from content import Content
from program import serve
from workloads import WORKLOADS

from . import recorders
from .recorder import Order


def main() -> None:
    name, workload, made, directory = sys.argv[1:]
    work = WORKLOADS[workload]
    recorder = recorders.find(name)(work, Content(work, Path(made)), Path(directory))
    try:
        serve({"version": recorder.version()}, lambda order: asdict(recorder.record(Order(**order))))
    finally:
        recorder.close()


if __name__ == "__main__":
    main()
