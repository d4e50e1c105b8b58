"""Recordings that run beside, in a program of their own: ``python bench/load.py WORKLOAD COUNT``.

All record the same pushed tracks, in real time, so that the load is that of the service and of the codecs: one thread
writes each picture and each block once, and the sender gives it to every recording. It is ready once all have begun,
stops them when it is asked, and answers what became of them.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import film
import processes
import sources
from program import running, serve
from workloads import WAIT_S, WORKLOADS

import recsvc


@contextmanager
def beside(name: str, count: int, service: str = "") -> Iterator[dict[str, Any]]:
    """``count`` recordings of a workload run meanwhile, in another process, by ``service`` or a private controller of
    its own. Yields what became of them, which is there after the block."""
    outcome: dict[str, Any] = {}
    with running(__file__, name, str(count), RECSVC_SERVICE=service) as program:
        yield outcome
        outcome.update(program.ask({}))


def private_service() -> str:
    """The endpoint of this program's own controller, for another program to join. It has to run already."""
    [controller] = (one for one in processes.tree() if one.role == "controller")
    words = Path(f"/proc/{controller.pid}/cmdline").read_text().split("\0")
    return words[words.index("--endpoint") + 1]


def main() -> None:
    work, count = WORKLOADS[sys.argv[1]], int(sys.argv[2])
    pusher = sources.Pusher(work, film.pictures(work))
    recorders = [sources.new_recorder(work, recsvc.MediaStream(pusher.tracks)) for _ in range(count)]
    for recorder in recorders:
        recorder.start()

    def stop(order: dict[str, Any]) -> dict[str, Any]:
        begin_s = time.monotonic()
        for recorder in recorders:
            recorder.stop()
        for recorder in recorders:
            recorder.wait("stop", WAIT_S)
        stopped_s = time.monotonic() - begin_s
        tracks = [track for recorder in recorders for track in recorder.statistics().tracks]
        return {
            "count": count,
            "accepted": sum(track.frames_accepted for track in tracks),
            "encoded": sum(track.frames_encoded for track in tracks),
            "dropped": sum(track.frames_dropped for track in tracks),
            "speed_raised": sum(track.speed_raised for track in tracks),
            "late_ms_max": pusher.late_ns_max / 1e6,
            "stop_all_ms": stopped_s * 1e3,
        }

    serve({}, stop)
    pusher.close()


if __name__ == "__main__":
    main()
