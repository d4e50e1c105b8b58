"""The devices of this machine, as a new process sees them: PortAudio looks for devices once, when it is loaded, and
never again, so whatever was plugged in later would not be found here."""

import json
import logging
import subprocess
import sys
import time
from typing import Any

from ..common.limits import ENUMERATE_DEADLINE_NS, S
from ..errors import NotReadableError
from ..process.role import environment

log = logging.getLogger("recsvc")


def enumerate_in_helper(limit_ns: int = ENUMERATE_DEADLINE_NS) -> list[dict[str, Any]]:
    """What ``python -m recsvc.capture.devices`` lists. Blocks until that has ended, at most ``limit_ns``.

    A sound configuration with which PortAudio aborts costs the microphones, not the cameras and screens.
    Raises ``NotReadableError`` when it failed or took too long; the process is gone in any case.
    """
    deadline_ns = time.monotonic_ns() + limit_ns
    try:
        done = _helper(limit_ns)
        if done.returncode < 0:
            log.warning("PortAudio ended by signal %d: no microphones are listed", -done.returncode)
            done = _helper(deadline_ns - time.monotonic_ns(), "videoinput")
        done.check_returncode()
        devices = json.loads(done.stdout)
    except subprocess.TimeoutExpired as error:
        raise NotReadableError(f"looking for devices took more than {limit_ns / S:g} s") from error
    except (subprocess.CalledProcessError, ValueError, OSError) as error:
        raise NotReadableError(f"looking for devices failed: {error}") from error
    if not isinstance(devices, list):
        raise NotReadableError(f"looking for devices gave no list: {str(devices)[:200]}")
    return devices


def _helper(limit_ns: int, *kinds: str) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "recsvc.capture.devices", *kinds]
    return subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, timeout=max(0, limit_ns) / S, env=environment()
    )
