"""A service's status that came in several answers. Pure."""

from __future__ import annotations

import msgspec

from .descriptions import ServiceStatus


def joined(first: ServiceStatus, following: ServiceStatus) -> ServiceStatus:
    """The first with the recordings of the one that was asked for those after its last one."""
    known = {recording.recording for recording in first.recordings}
    new = tuple(one for one in following.recordings if one.recording not in known)
    queues = {worker.number: (worker.queue_frames, worker.queue_bytes) for worker in following.workers}
    return msgspec.structs.replace(
        first,
        recordings=first.recordings + new,
        workers=tuple(
            msgspec.structs.replace(
                worker,
                queue_frames=worker.queue_frames + queues.get(worker.number, (0, 0))[0],
                queue_bytes=worker.queue_bytes + queues.get(worker.number, (0, 0))[1],
            )
            for worker in first.workers
        ),
        more=following.more and bool(new),
    )
