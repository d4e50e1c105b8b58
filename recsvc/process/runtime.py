"""Places in the file system: directories for sockets, endpoints of services, the spool.

A runtime directory holds the sockets of one controller and its roles. Each of these processes holds the directory's
lock file (shared) until it ends, in whatever way, and the last to leave removes the sockets and the directory. So
nobody removes what another still uses; and when all were killed at once, the next controller that starts sweeps the
directory.
"""

from __future__ import annotations

import fcntl
import os
import stat
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Protocol

from ..common.limits import LOOK_NS, S
from ..errors import NotFoundError, ServiceError

PREFIX = "recsvc-"
_LOCK = "lock"

_SOCKET_PATH_MAX = 107  # bytes, by the kernel
_BASE_LENGTH_MAX = 60  # a directory's own name and the longest of a socket in it add up to 40


class Runtime:
    """A stay in a runtime directory, from ``make`` or ``join`` to ``leave``."""

    def __init__(self, path: Path, lock: int) -> None:
        self.path = path
        self._lock: int | None = lock

    def leave(self, *, patience_s: float = 0.0) -> None:
        """Removes the directory if nobody else lives there; waits up to ``patience_s`` for processes that are just
        being killed. Idempotent."""
        lock, self._lock = self._lock, None
        if lock is None:
            return
        deadline_s = time.monotonic() + patience_s
        while not _clear_if_dead(self.path, lock) and time.monotonic() < deadline_s:
            time.sleep(LOOK_NS / S)
        os.close(lock)


def is_short(base: Path) -> bool:
    """Whether a runtime directory below it has room for its sockets' names."""
    return len(os.fsencode(base)) <= _BASE_LENGTH_MAX


def make(base: Path | None = None) -> Runtime:
    """Makes a runtime directory below ``base``; ``OSError`` where that is impossible."""
    base = default_base() if base is None else base.absolute()
    if not is_short(base):
        raise OSError(f"the directory {base} is too long for sockets: at most {_BASE_LENGTH_MAX} bytes, use a link")
    while True:
        path = Path(tempfile.mkdtemp(prefix=PREFIX, dir=base))
        lock = _hold(path, os.O_CREAT)
        if lock is not None:
            return Runtime(path, lock)


def join(path: Path) -> Runtime | None:
    """A stay in an existing runtime directory; ``None`` where there is none of ours."""
    lock = _hold(path, 0)
    return None if lock is None else Runtime(path, lock)


class ToController(Protocol):
    """A process's line to its controller."""

    is_over: bool
    """Whether the controller is gone."""


@contextmanager
def joined(path: Path, line: ToController, endings: tuple[type[Exception], ...] = ()) -> Iterator[None]:
    """The stay of a controller's process in its runtime directory. One of ``endings`` ends it in order where the
    controller is gone, since the directory of the sockets has gone with it."""
    place = join(path)
    try:
        yield
    except endings:
        if not line.is_over:
            raise
    finally:
        if place is not None:
            place.leave(patience_s=1.0 if line.is_over else 0.0)


def _hold(path: Path, flags: int) -> int | None:
    """The locked lock file; ``None`` where it is not there, or was swept meanwhile."""
    try:
        lock = os.open(path / _LOCK, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC | flags, 0o600)
    except (FileNotFoundError, NotADirectoryError):
        return None
    with suppress(OSError):  # on a file system without locks nobody knows who lives there, and nothing is swept
        fcntl.flock(lock, fcntl.LOCK_SH)
    if _is_at(lock, path / _LOCK):
        return lock
    os.close(lock)
    return None


def _is_at(descriptor: int, path: Path) -> bool:
    with suppress(FileNotFoundError):
        return os.path.samestat(os.fstat(descriptor), os.stat(path, follow_symlinks=False))
    return False


def _clear_if_dead(path: Path, lock: int) -> bool:
    """Removes the directory if nobody lives there, and returns whether that is so; else ``lock`` is given up."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    if not _is_at(lock, path / _LOCK):
        return True
    with suppress(OSError):
        for entry in list(os.scandir(path)):
            if stat.S_ISSOCK(entry.stat(follow_symlinks=False).st_mode):
                os.unlink(entry)
        os.unlink(path / _LOCK)
        os.rmdir(path)
    return True


def remove_if_dead(path: Path) -> None:
    """Removes a runtime directory in which nobody lives any more."""
    with suppress(OSError):
        lock = os.open(path / _LOCK, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            _clear_if_dead(path, lock)
        finally:
            os.close(lock)


def sweep(base: Path) -> None:
    """Removes this user's runtime directories below ``base`` in which nobody lives any more."""
    with suppress(OSError):
        for entry in list(os.scandir(base)):
            if not entry.name.startswith(PREFIX) or not entry.is_dir(follow_symlinks=False):
                continue
            with suppress(OSError):
                if entry.stat(follow_symlinks=False).st_uid == os.geteuid():
                    remove_if_dead(Path(entry.path))


def default_base() -> Path:
    """``XDG_RUNTIME_DIR``, else the directory for temporary files; ``/tmp`` where their names are too long."""
    base = os.environ.get("XDG_RUNTIME_DIR") or tempfile.gettempdir()
    if not os.path.isabs(base) or not os.access(base, os.W_OK) or len(os.fsencode(base)) > _BASE_LENGTH_MAX:
        base = "/tmp"
    return Path(base)


# --- endpoints ------------------------------------------------------------------------------------


def checked_endpoint(endpoint: str) -> str:
    """An endpoint of a service, its path absolute. ``ValueError`` with what was expected."""
    path = endpoint.removeprefix("ipc://")
    if path == endpoint or not path.strip("*/") or "\0" in path:
        raise ValueError(
            f"a service is named by an endpoint such as 'ipc:///run/user/1000/recsvc.sock', not {endpoint!r}; other "
            "transports and machines are not served"
        )
    if path.startswith("@"):
        return endpoint
    absolute = os.path.abspath(path)
    if len(os.fsencode(absolute)) <= _SOCKET_PATH_MAX:
        return f"ipc://{absolute}"
    if len(os.fsencode(path)) > _SOCKET_PATH_MAX:
        raise ValueError(f"the path of {endpoint!r} is too long: a socket's has at most {_SOCKET_PATH_MAX} bytes")
    return endpoint


class Lock:
    """A file that one living process at a time holds; in it stands who that is, for others to read."""

    def __init__(self, path: Path, owner: str) -> None:
        """``ServiceError`` with the words of the ``owner`` that holds it, ``OSError`` where nobody can."""
        self._path = path
        while True:
            self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                other = os.pread(self._descriptor, 1000, 0).decode(errors="replace").strip()
                os.close(self._descriptor)
                raise ServiceError(other or "another process") from None
            except BaseException:
                os.close(self._descriptor)
                raise
            if _is_at(self._descriptor, path):
                break
            os.close(self._descriptor)
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, owner.encode(), 0)

    def release(self) -> None:
        """Removes the file."""
        with suppress(OSError):  # its directory may be gone, or read-only by now
            os.unlink(self._path)
        os.close(self._descriptor)


class Claim:
    """The right to serve at an endpoint: nobody else does, and no file but a socket is replaced. Its lock is a file
    beside the socket, so that a service that ends late never removes the socket of the next one."""

    def __init__(self, endpoint: str) -> None:
        """``ServiceError`` when somebody else serves there, ``OSError`` where nobody can."""
        path = self._socket = Path(endpoint.removeprefix("ipc://"))
        try:
            self._lock = Lock(Path(f"{path}.lock"), f"process {os.getpid()}")
        except ServiceError as error:
            raise ServiceError(f"{error} serves at {endpoint} already, or is still ending") from None
        if path.exists() and not path.is_socket():
            self._lock.release()
            raise ServiceError(f"{path} is there and no socket; name another endpoint")

    def release(self) -> None:
        """Removes the socket."""
        with suppress(OSError):
            self._socket.unlink()
        self._lock.release()


# --- the spool ------------------------------------------------------------------------------------


def spool_directory() -> Path:
    """Where recordings are written: ``RECSVC_SPOOL``, else ``recsvc/spool`` below the user's state directory.

    It survives a reboot, so that recordings of a crash can be recovered. ``NotFoundError`` where no place is known.
    """
    named = os.environ.get("RECSVC_SPOOL")
    if named:
        return Path(named).absolute()
    return state_directory("spool") / "spool"


def state_directory(wanted: str) -> Path:
    """Where this user keeps what is ours. ``NotFoundError`` where no place is known for what is ``wanted``."""
    state = os.environ.get("XDG_STATE_HOME") or os.path.expanduser("~/.local/state")
    if state.startswith("~") or (not os.environ.get("XDG_STATE_HOME") and os.environ.get("HOME") == ""):
        raise NotFoundError(
            f"there is no home directory (HOME) and so no spool ~/.local/state/recsvc/{wanted}: set RECSVC_SPOOL to a "
            "directory for recordings"
        )
    return Path(state).absolute() / "recsvc"


def prepare_spool(path: Path) -> None:
    """Makes the directory where it is not there. ``ServiceError`` where nothing can be written to it, or where clients
    could not be sent its name."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        raise ServiceError(f"the name of the spool {os.fsencode(path)!r} is no UTF-8; name another directory") from None
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=path).close()  # has no name
    except OSError as error:
        reason = "it is no directory" if isinstance(error, FileExistsError | NotADirectoryError) else error.strerror
        raise ServiceError(
            f"recordings cannot be written to the spool {path}: {reason}; name another directory in RECSVC_SPOOL"
        ) from None
