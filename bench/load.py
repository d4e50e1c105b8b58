"""Recordings that run beside, in a program of their own: ``python bench/load.py WORKLOAD COUNT``.

All record the same pushed tracks, in real time, so that the load is that of the service and of the codecs: one thread
writes each picture and each block once, and the sender gives it to every recording. Says ``ready`` on standard output
once all have begun, runs until standard input ends, then prints what became of them as one line of JSON.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import processes
import recorded
import sources
from workloads import WAIT_S, WORKLOADS

import recsvc


@contextmanager
def beside(name: str, count: int, service: str = "") -> Iterator[list[dict[str, Any]]]:
    """``count`` recordings of a workload run meanwhile, in another process, by ``service`` or a private controller of
    its own; gives a list that gets what became of them after the block."""
    outcome: list[dict[str, Any]] = []
    with processes.helper(__file__, name, str(count), RECSVC_SERVICE=service) as process:
        assert process.stdin is not None and process.stdout is not None
        yield outcome
        process.stdin.close()
        outcome.append(json.loads(process.stdout.readline()))


def private_service() -> str:
    """The endpoint of this program's own controller, for another program to join. It has to run already."""
    [controller] = (one for one in processes.tree() if one.role == "controller")
    words = Path(f"/proc/{controller.pid}/cmdline").read_text().split("\0")
    return words[words.index("--endpoint") + 1]


def main() -> None:
    work, count = WORKLOADS[sys.argv[1]], int(sys.argv[2])
    pusher = sources.Pusher(work, recorded.pictures(work))
    recorders = [sources.new_recorder(work, recsvc.MediaStream(pusher.tracks)) for _ in range(count)]
    for recorder in recorders:
        recorder.start()
    print("ready", flush=True)
    sys.stdin.read()
    begin_s = time.monotonic()
    for recorder in recorders:
        recorder.stop()
    dropped = raised = accepted = encoded = 0
    for recorder in recorders:
        recorder.wait("stop", WAIT_S)
        for track in recorder.statistics().tracks:
            dropped += track.frames_dropped
            accepted += track.frames_accepted
            encoded += track.frames_encoded
            raised += track.speed_raised
    stopped_s = time.monotonic() - begin_s
    pusher.close()
    outcome = {
        "count": count,
        "accepted": accepted,
        "encoded": encoded,
        "dropped": dropped,
        "speed_raised": raised,
        "late_ms_max": pusher.late_ns_max / 1e6,
        "stop_all_ms": stopped_s * 1e3,
    }
    print(json.dumps(outcome), flush=True)


if __name__ == "__main__":
    main()
