"""recsvc: MediaRecorder for servers. The public names, nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from . import errors
from .caller.blob import Blob
from .caller.events import BlobEvent, ErrorEvent, Event
from .caller.push import AudioSource, VideoSource
from .caller.recorder import MediaRecorder
from .caller.recovery import recover
from .caller.stream import MediaDeviceInfo, MediaStream, MediaStreamTrack, enumerate_devices, get_user_media
from .common.descriptions import RecordingStatistics, TrackStatistics

if TYPE_CHECKING:
    from . import aio as aio

__version__ = "0.1.0"

__all__ = [
    "AudioSource",
    "Blob",
    "BlobEvent",
    "ErrorEvent",
    "Event",
    "MediaDeviceInfo",
    "MediaRecorder",
    "MediaStream",
    "MediaStreamTrack",
    "RecordingStatistics",
    "TrackStatistics",
    "VideoSource",
    "aio",
    "enumerate_devices",
    "errors",
    "get_user_media",
    "recover",
]


def __getattr__(name: str) -> Any:
    """``recsvc.aio`` without an import of its own: made at its first use, since it brings asyncio with it."""
    if name == "aio":
        import importlib

        return importlib.import_module(".aio", __name__)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
