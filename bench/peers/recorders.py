"""All recorders by name. Each module is loaded only where its recorder runs: they need different Pythons."""

from __future__ import annotations

import importlib

from .recorder import Recorder

_CLASSES = {
    "floor": ("floor_peer", "Floor"),
    "recsvc": ("recsvc_peer", "Recsvc"),
    "pyav": ("pyav_peer", "PyAV"),
    "ffmpeg": ("ffmpeg_peer", "FFmpeg"),
    "gstreamer": ("gstreamer_peer", "GStreamer"),
    "aiortc": ("aiortc_peer", "Aiortc"),
    "chromium-camera": ("browser_peer", "ChromiumCamera"),
    "chromium-canvas": ("browser_peer", "ChromiumCanvas"),
    "firefox": ("browser_peer", "Firefox"),
}
_OF_DEVICES = {
    "recsvc-device": ("device_peers", "Recsvc"),
    "ffmpeg-device": ("device_peers", "FFmpeg"),
    "gstreamer-device": ("device_peers", "GStreamer"),
    "chromium-device": ("browser_peer", "ChromiumMicrophone"),
}
NAMES = tuple(_CLASSES)
"""Those that are fed."""
NAMES_OF_DEVICES = tuple(_OF_DEVICES)
"""Those that capture what ``devices.py`` shows and plays."""


def find(name: str) -> type[Recorder]:
    module, class_name = (_CLASSES | _OF_DEVICES)[name]
    return getattr(importlib.import_module(f".{module}", __package__), class_name)
