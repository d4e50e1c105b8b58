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

log = logging.getLogger("recsvc")

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
    from .microphone import inputs, load_sounddevice, quiet_stderr

    sounddevice = load_sounddevice()

    def can(device: Any, rate: int) -> bool:
        try:
            sounddevice.check_input_settings(device["index"], min(2, device["max_input_channels"]), "int16", None, rate)
        except (sounddevice.PortAudioError, ValueError):
            return False
        return True

    with quiet_stderr():
        return [
            {
                "device_id": f"mic:{device['name']}",
                "kind": "audioinput",
                "label": device["name"],
                "sample_rates": [rate for rate in RATES if can(device, rate)],
                "channel_count": device["max_input_channels"],
            }
            for device in inputs(sounddevice)
        ]


def _cameras() -> list[dict[str, Any]]:
    from .grab import CAMERA_FORMAT, cameras

    # A camera has several nodes; those that give no pictures are not listed.
    return [found for path in cameras() for found in _pictures(f"camera:{path}", _camera_name(path), CAMERA_FORMAT)]


def _screens() -> list[dict[str, Any]]:
    from .grab import SCREEN_FORMAT, X11_SOCKETS

    numbers = [re.fullmatch(r".*/X(\d+)", path) for path in glob.glob(f"{X11_SOCKETS}/X*")]
    displays = [f":{match[1]}" for match in numbers if match]
    if own := os.environ.get("DISPLAY"):
        short = re.sub(r"^(:\d+)\.\d+$", r"\1", own)
        displays = [short, *(name for name in displays if name != short)]
    # A socket may be left over from a server that died.
    return [found for name in displays for found in _pictures(f"screen:{name}", f"Screen {name}", SCREEN_FORMAT)]


def _pictures(device_id: str, label: str, form: str) -> list[dict[str, Any]]:
    """The device, where it gives pictures."""
    from .grab import probe

    found = probe(device_id.partition(":")[2], form)
    if found is None:
        return []
    width, height, rate = found
    return [
        {
            "device_id": device_id,
            "kind": "videoinput",
            "label": label,
            "sizes": [[width, height]],
            "frame_rates": [rate] if rate else [],
        }
    ]


def _camera_name(path: str) -> str:
    try:
        with open(f"/sys/class/video4linux/{os.path.basename(path)}/name", encoding="utf-8") as file:
            return file.read().strip() or path
    except OSError:
        return path


if __name__ == "__main__":
    print(json.dumps(list_devices(tuple(sys.argv[1:]) or KINDS)))
