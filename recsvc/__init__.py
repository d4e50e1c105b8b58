"""recsvc: MediaRecorder for servers. The public names, each imported from its module at its first use."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from . import aio as aio
    from . import errors as errors
    from . import recording as recording
    from .caller.blob import Blob as Blob
    from .caller.events import BlobEvent as BlobEvent
    from .caller.events import ErrorEvent as ErrorEvent
    from .caller.events import Event as Event
    from .caller.media_recorder import MediaRecorder as MediaRecorder
    from .caller.push import AudioSource as AudioSource
    from .caller.push import VideoSource as VideoSource
    from .caller.push_encoded import EncodedAudioSource as EncodedAudioSource
    from .caller.push_encoded import EncodedVideoSource as EncodedVideoSource
    from .caller.recovery import recover as recover
    from .caller.stream import MediaStream as MediaStream
    from .caller.stream import MediaStreamTrack as MediaStreamTrack
    from .caller.user_media import MediaDeviceInfo as MediaDeviceInfo
    from .caller.user_media import enumerate_devices as enumerate_devices
    from .caller.user_media import get_user_media as get_user_media
    from .common.descriptions import RecordingStatistics as RecordingStatistics
    from .common.descriptions import TrackStatistics as TrackStatistics

__version__ = "0.1.0"

_MODULES = {
    "AudioSource": "caller.push",
    "Blob": "caller.blob",
    "BlobEvent": "caller.events",
    "EncodedAudioSource": "caller.push_encoded",
    "EncodedVideoSource": "caller.push_encoded",
    "ErrorEvent": "caller.events",
    "Event": "caller.events",
    "MediaDeviceInfo": "caller.user_media",
    "MediaRecorder": "caller.media_recorder",
    "MediaStream": "caller.stream",
    "MediaStreamTrack": "caller.stream",
    "RecordingStatistics": "common.descriptions",
    "TrackStatistics": "common.descriptions",
    "VideoSource": "caller.push",
    "aio": "aio",
    "enumerate_devices": "caller.user_media",
    "errors": "errors",
    "get_user_media": "caller.user_media",
    "recording": "recording",
    "recover": "caller.recovery",
}
"""Where each public name is; one that stands for itself is a module. Role processes import this package as well, and
must be ready fast, so nothing is imported here that nobody has asked for."""

# ``recording`` is what programs call their own recordings, so a star import leaves it out.
__all__ = [name for name in _MODULES if name != "recording"]


if not TYPE_CHECKING:  # a checker knows the names above, and that there are no others

    def __getattr__(name: str) -> object:
        if name not in _MODULES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        module = importlib.import_module(f".{_MODULES[name]}", __name__)
        value = module if name == _MODULES[name] else getattr(module, name)
        globals()[name] = value  # the next use does not come here
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_MODULES})
