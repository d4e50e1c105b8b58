"""How a client finds a service: by an endpoint, or by the connection file that a daemon writes.

A connection file is a JSON object for its user alone. Whoever serves holds a lock on it as long as it lives, so that a
file that a killed daemon left is known for what it is. One that was written by hand, for a service on another machine,
has no ``pid`` and is taken as it is.
"""

from __future__ import annotations

import fcntl
import json
import os
import stat
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from ..common.service import ServiceAddress
from ..errors import ServiceError
from .runtime import checked_endpoint, default_base

FILE_NAME = "service.json"
SYSTEM_DIRECTORY = Path("/run/recsvc")
_FILE_BYTES_MAX = 65536
_EXPECTED = (
    "expected an endpoint such as 'ipc:///run/user/1000/recsvc/control' or 'tcp://recorder.example:7700', or the path "
    "of a connection file"
)


def service_directory() -> Path:
    """Where this user's daemon has its sockets and its connection file, unless it was given another place."""
    base = default_base()
    if base == Path(os.environ.get("XDG_RUNTIME_DIR") or "-"):
        return base / "recsvc"
    return SYSTEM_DIRECTORY if os.geteuid() == 0 else Path(f"/tmp/recsvc.{os.geteuid()}")


def default_service() -> str:
    """What ``service`` names where nothing else does, for who speaks to a daemon and starts none:
    ``RECSVC_SERVICE``, else the connection file of this user's daemon, else that of the machine's; one that a killed
    daemon left, or another user put there, is passed over. ``ServiceError`` where there is none."""
    named = os.environ.get("RECSVC_SERVICE", "")
    if named:
        return named
    places = [directory / FILE_NAME for directory in dict.fromkeys((service_directory(), SYSTEM_DIRECTORY))]
    left = ""
    for path in places:
        with suppress(OSError):
            if not path.is_file():
                continue
            try:
                read(path)
            except NotThere as error:
                left = left or str(error)
                continue
            except ServiceError:
                pass  # what is wrong with it is raised where it is used: it is no reason to take another service
            return str(path)
    raise ServiceError(
        left
        or f"no service runs here (there is no {' nor '.join(map(str, places))}): start one with 'recsvc serve', or "
        "name one by --service, service= or RECSVC_SERVICE"
    )


def address_of(service: str | os.PathLike[str]) -> ServiceAddress:
    """What ``service`` names. ``ValueError`` where it is neither an endpoint nor a path, ``ServiceError`` where the
    connection file is not there or of no use."""
    named = os.fspath(service)
    if not isinstance(named, str):
        raise TypeError(f"service must be text: {_EXPECTED}, got {service!r}")
    transport, colon, rest = named.partition("://")
    if not colon:
        is_path = os.sep in named or named.endswith(".json") or os.path.exists(named)
        if not is_path or "\0" in named:
            raise ValueError(f"{_EXPECTED}, got {named!r}")
        return read(Path(named)).address
    if transport == "ipc":
        return ServiceAddress(checked_endpoint(named))
    if transport == "tcp":
        return ServiceAddress(f"tcp://{_host_and_port(named, rest)}")
    raise ValueError(f"{_EXPECTED}, got {named!r}: no other transports are served")


def _host_and_port(named: str, rest: str) -> str:
    host, _, port = rest.rpartition(":")
    if not host or host == "*" or not port.isdecimal() or not 0 < int(port) < 65536:
        raise ValueError(f"a service on another machine is tcp://HOST:PORT, such as tcp://recorder:7700, not {named!r}")
    return rest


# --- connection files -----------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Connection:
    """What a connection file holds. ``pid``: of who serves; 0 in one that was written by hand. ``tcp``
    and ``server_key``: of the same service, for clients on other machines. ``http``: the base of
    its addresses, ``""`` without HTTP."""

    endpoint: str
    server_key: str = ""
    public_key: str = ""
    secret_key: str = ""
    pid: int = 0
    tcp: str = ""
    http: str = ""
    spool: str = ""
    version: str = ""

    @property
    def address(self) -> ServiceAddress:
        """Keys are for other machines: the folder of a Unix socket is closed to others."""
        if self.endpoint.startswith("ipc://"):
            return ServiceAddress(self.endpoint)
        return ServiceAddress(self.endpoint, self.server_key, self.public_key, self.secret_key)


class NotThere(ServiceError):
    """Nobody whom we trust serves at a connection file: who wrote it has ended, or is another user."""


def read(path: Path) -> Connection:
    """``ServiceError``: why it cannot be used; ``NotThere`` where who wrote it has ended, or is another user."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        raise ServiceError(f"no service is at {path}: there is no such connection file; {_EXPECTED}") from None
    except OSError as error:
        raise ServiceError(f"the connection file {path} cannot be read: {error.strerror}") from None
    try:
        found = _parsed(path, descriptor)
        if found.pid and not _is_held(descriptor):
            raise NotThere(f"the service of {path} (process {found.pid}) has ended: start it again (recsvc serve)")
    finally:
        os.close(descriptor)
    return found


def _parsed(path: Path, descriptor: int) -> Connection:
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        raise ServiceError(f"{path} is no connection file; {_EXPECTED}")
    if status.st_uid not in (0, os.geteuid()):
        raise NotThere(f"the connection file {path} is another user's and not trusted")
    try:
        content: Any = json.loads(os.pread(descriptor, _FILE_BYTES_MAX, 0))
        known = {field.name: field.type for field in fields(Connection)}
        given = {name: value for name, value in content.items() if name in known}
        wrong = [name for name, value in given.items() if not isinstance(value, int if name == "pid" else str)]
        if wrong or not given.get("endpoint"):
            raise ValueError(", ".join(wrong) or "endpoint")
        transport, _, rest = str(given["endpoint"]).partition("://")
        given["endpoint"] = address_of(f"{transport}://{rest}").endpoint
    except (ValueError, AttributeError, TypeError) as error:
        raise ServiceError(f"the connection file {path} is not valid: {error}") from None
    if given.get("secret_key") and status.st_mode & 0o077:
        raise ServiceError(f"others may read the secret key in {path}: chmod 600 it")
    return Connection(**given)


def _is_held(descriptor: int) -> bool:
    """Who serves took its lock before the file got its name."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # a file system without locks
        return True
    return False


def check_free(path: Path) -> None:
    """``ServiceError`` where a service that lives has written this connection file, or none can be written."""
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise ServiceError(
            f"the connection file {path} cannot be written: there is no such directory, or it is not ours"
        )
    with suppress(FileNotFoundError):
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOFOLLOW)
        try:
            if _is_held(descriptor):
                pid = _parsed(path, descriptor).pid
                raise ServiceError(
                    f"the service of process {pid} has the connection file {path}: name another --connection-file"
                )
        finally:
            os.close(descriptor)


class Published:
    """A connection file that this process has written, until ``remove``."""

    def __init__(self, path: Path, connection: Connection) -> None:
        """``ServiceError`` where a service that lives has written one there, ``OSError`` where it cannot be written."""
        self._path = path
        check_free(path)
        written = path.with_name(f".{path.name}.{os.getpid()}")
        written.unlink(missing_ok=True)
        self._lock = os.open(written, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            with suppress(OSError):
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            content = {name: value for name, value in asdict(connection).items() if value}
            os.write(self._lock, f"{json.dumps(content, indent=2)}\n".encode())
            os.rename(written, path)
        except BaseException:
            written.unlink(missing_ok=True)
            os.close(self._lock)
            raise

    def remove(self) -> None:
        """Not where another one stands there by now."""
        with suppress(OSError):
            if os.path.samestat(os.fstat(self._lock), os.stat(self._path, follow_symlinks=False)):
                self._path.unlink()
        os.close(self._lock)
