"""recsvc: MediaRecorder for servers. The public names, nothing else."""

from . import errors
from .blob import Blob
from .events import BlobEvent, ErrorEvent, Event
from .recorder import MediaRecorder
from .recovery import recover
from .stream import (
    AudioSource,
    MediaDeviceInfo,
    MediaStream,
    MediaStreamTrack,
    VideoSource,
    enumerate_devices,
    get_user_media,
)
from .wire.messages import RecordingStatistics, TrackStatistics

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
    "enumerate_devices",
    "errors",
    "get_user_media",
    "recover",
]
