"""What settings are written as, and where things are by default."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from ..process.runtime import checked_endpoint, state_directory
from ..process.services import service_directory

DEFAULT_TCP_PORT = 7700
SYSTEM_FILE = Path("/etc/recsvc/service.toml")
_UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def seconds(value: Any) -> Any:
    """``"90"``, ``"30s"``, ``"12h"``, ``"30d"``."""
    if isinstance(value, str) and value.strip()[-1:] in _UNITS_S:
        number, unit = value.strip()[:-1], value.strip()[-1]
        try:
            return float(number) * _UNITS_S[unit]
        except ValueError:
            raise ValueError('a time is a number of seconds, or such as "90s", "15m", "12h", "30d"') from None
    return value


def endpoint(value: Any) -> Any:
    return checked_endpoint(value) if isinstance(value, str) and value else value


def tcp(value: Any) -> Any:
    if not isinstance(value, str) or not value:
        return value
    host, colon, port = value.removeprefix("tcp://").rpartition(":")
    if not colon or value.endswith("]"):
        host, port = value.removeprefix("tcp://"), str(DEFAULT_TCP_PORT)
    if not value.startswith("tcp://") or not host or not (port == "*" or (port.isdecimal() and int(port) < 65536)):
        raise ValueError("where other machines connect is tcp://ADDRESS:PORT, such as tcp://*:7700")
    return f"tcp://{host}:{port}"


def directory(value: Any) -> Any:
    return str(Path(value).expanduser().absolute()) if isinstance(value, str) and value else value


def default_spool() -> str:
    """Not that of private controllers, whose files belong to their callers."""
    named = os.environ.get("STATE_DIRECTORY", "").split(":")[0]  # by systemd
    return str((Path(named).absolute() if named else state_directory("recordings")) / "recordings")


def default_directory() -> str:
    named = os.environ.get("RUNTIME_DIRECTORY", "").split(":")[0]  # by systemd
    return str(Path(named).absolute() if named else service_directory())


def default_keys() -> str:
    return str(configuration() / "keys")


def default_key_file() -> str:
    return str(configuration() / "service.key")


def configuration() -> Path:
    named = os.environ.get("CONFIGURATION_DIRECTORY", "").split(":")[0]  # by systemd
    if named:
        return Path(named)
    if not os.environ.get("XDG_CONFIG_HOME") and os.environ.get("HOME") == "":
        return SYSTEM_FILE.parent
    return Path(os.environ.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config")).absolute() / "recsvc"
