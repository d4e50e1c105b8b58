"""Which microphones, cameras and screens this machine has.

``python -m recsvc.capture.devices [KIND …]`` prints the list as JSON.
"""

import glob
import json
import logging
import os
import re
import sys
from typing import Any

from .quiet import quiet_stderr

log = logging.getLogger("recsvc")

# Looking at one camera or screen.
PROBE_LIMIT_S = 2.0
KINDS = ("audioinput", "videoinput")
RATES = (8_000, 16_000, 24_000, 32_000, 44_100, 48_000, 88_200, 96_000, 192_000)


def list_devices(kinds: tuple[str, ...] = KINDS) -> list[dict[str, Any]]:
    """The devices of these kinds as this process sees them; empty when there are none, never raises.

    Each has ``device_id`` (the source string), ``kind`` (``audioinput`` or ``videoinput``), ``label``;
    microphones ``sample_rates`` (a list) and ``channel_count`` (the most), screens and cameras ``sizes`` (a
    list of ``[width, height]``) and ``frame_rates`` (a list), empty when not known. Blocks up to seconds.
    """
    devices: list[dict[str, Any]] = []
    for kind, look in (("audioinput", _microphones), ("videoinput", _cameras), ("videoinput", _screens)):
        if kind not in kinds:
            continue
        try:
            devices += look()
        except Exception as error:
            log.info("%s: %s", look.__name__.strip("_"), error)
    return devices


def _microphones() -> list[dict[str, Any]]:
    from .microphone import load_sounddevice

    sounddevice = load_sounddevice()
    found = []
    with quiet_stderr():
        for device in sounddevice.query_devices():
            channels = device["max_input_channels"]
            if channels > 0:
                found.append(
                    {
                        "device_id": f"mic:{device['name']}",
                        "kind": "audioinput",
                        "label": device["name"],
                        "sample_rates": [rate for rate in RATES if _can(sounddevice, device, rate)],
                        "channel_count": channels,
                    }
                )
    return found


def _can(sounddevice: Any, device: Any, rate: int) -> bool:
    try:
        sounddevice.check_input_settings(device["index"], min(2, device["max_input_channels"]), "int16", None, rate)
    except (sounddevice.PortAudioError, ValueError):
        return False
    return True


def _cameras() -> list[dict[str, Any]]:
    found = []
    for path in sorted(glob.glob("/dev/video*"), key=lambda path: (len(path), path)):
        form = _probe(path, "video4linux2,v4l2", {})
        if form is not None:  # a camera has several nodes; those that give no pictures are not listed
            found.append(_pictures(f"camera:{path}", _camera_name(path), form))
    return found


def _screens() -> list[dict[str, Any]]:
    numbers = [re.fullmatch(r".*/X(\d+)", path) for path in glob.glob("/tmp/.X11-unix/X*")]
    displays = [f":{match[1]}" for match in numbers if match]
    if own := os.environ.get("DISPLAY"):
        short = re.sub(r"^(:\d+)\.\d+$", r"\1", own)
        displays = [own if short in displays else short, *(name for name in displays if name != short)]
        displays[0] = short
    found = []
    for display in displays:
        form = _probe(display, "x11grab", {"probesize": "32", "analyzeduration": "0"})
        if form is not None:  # a socket may be left over from a server that died
            found.append(_pictures(f"screen:{display}", f"Screen {display}", form))
    return found


def _pictures(device_id: str, label: str, form: tuple[int, int, float | None]) -> dict[str, Any]:
    width, height, rate = form
    return {
        "device_id": device_id,
        "kind": "videoinput",
        "label": label,
        "sizes": [[width, height]],
        "frame_rates": [rate] if rate else [],
    }


def _probe(name: str, form: str, options: dict[str, str]) -> tuple[int, int, float | None] | None:
    """Width, height and frame rate that a device offers by itself; ``None`` when it gives no pictures."""
    import av

    try:
        container: Any = av.open(name, format=form, options=options, timeout=(PROBE_LIMIT_S, PROBE_LIMIT_S))
    except (av.error.FFmpegError, OSError, ValueError):
        return None
    with container:
        stream = container.streams.video[0]
        rate = stream.average_rate
        return stream.codec_context.width, stream.codec_context.height, float(rate) if rate else None


def _camera_name(path: str) -> str:
    try:
        with open(f"/sys/class/video4linux/{os.path.basename(path)}/name", encoding="utf-8") as file:
            return file.read().strip() or path
    except OSError:
        return path


if __name__ == "__main__":
    print(json.dumps(list_devices(tuple(sys.argv[1:]) or KINDS)))
