"""What the controller logs of each recording's life."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from ..wire import messages

log = logging.getLogger("recsvc.controller")

_STEPS = {"start": "started", "pause": "paused", "resume": "resumed"}


def about(subject: object) -> dict[str, object]:
    """For ``extra`` of a line that concerns a recording: its name, or a message that names one."""
    return {"recording": subject if isinstance(subject, str) else getattr(subject, "recording", "")}


def note(message: messages.Message) -> None:
    """An event that was published just now. The last data say how the recording was; the others are too many."""
    if not isinstance(message, messages.RecorderEvent):
        return
    if message.type == "error":
        log.warning("recording failed: %s: %s", message.error, message.text, extra=about(message))
    elif message.type in _STEPS:
        log.info("recording %s", _STEPS[message.type], extra=about(message))
    elif message.statistics is not None and log.isEnabledFor(logging.INFO):
        fields = {
            "duration_s": round(message.statistics.duration, 3),
            "size_bytes": message.statistics.size_bytes,
            "dropped": sum(track.frames_dropped for track in message.statistics.tracks),
        }
        log.info("recording finished", extra={**about(message), "fields": fields})


def guarded(step: Callable[..., None], *given: Any) -> None:
    """One step of the loop. A mistake of ours must not end the recordings of all."""
    try:
        step(*given)
    except Exception:
        log.exception("a turn of the controller's loop failed")
