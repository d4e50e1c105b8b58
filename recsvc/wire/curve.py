"""Keys: of a service, of its clients, and the folder of those that it lets in.

A service has a file with its own two keys, which nobody else may read, and a folder with a file ``NAME.toml`` for each
client: its public key, and what it may do. Keys are written in Z85, as ZeroMQ does.
"""

from __future__ import annotations

import logging
import os
import re
import stat
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import zmq
import zmq.utils.z85

from ..common.permissions import PERMISSIONS, Peer
from ..common.service_limits import KEY_FILE_BYTES_MAX, KEYS_LOOK_NS, KEYS_MAX
from ..errors import NotFoundError, SecurityError

log = logging.getLogger("recsvc")

NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,98}\Z")
"""What a client's key may be called: its file is."""
_SUFFIX = ".toml"


class KeyPair(NamedTuple):
    """In Z85, 40 characters each."""

    public: str
    secret: str

    def __repr__(self) -> str:
        """Without the secret: logs show it."""
        return f"KeyPair(public={self.public!r})"


def make_keys() -> KeyPair:
    public, secret = zmq.curve_keypair()
    return KeyPair(public.decode(), secret.decode())


def as_text(key: bytes) -> str:
    """Z85 of a key's 32 bytes; ``""`` where it has not that many."""
    return zmq.utils.z85.encode(key).decode() if len(key) == 32 else ""


def checked_key(text: Any, what: str) -> str:
    """``ValueError`` unless it is a key."""
    with suppress(ValueError, KeyError, TypeError, AttributeError):
        if len(text) == 40 and len(zmq.utils.z85.decode(text)) == 32:
            return str(text)
    raise ValueError(f"{what} is no key: expected 40 characters of Z85, such as 'recsvc keygen' writes")


# --- files ----------------------------------------------------------------------------------------


def write_secret(path: Path, text: str) -> None:
    """A file of one's own that nobody else may read. ``FileExistsError``: it is there."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def make_service_keys(path: Path) -> KeyPair:
    """Those of the service, made where there are none yet."""
    keys = make_keys()
    text = f'# The key of this recsvc service. Keep it secret.\npublic = "{keys.public}"\nsecret = "{keys.secret}"\n'
    with suppress(FileExistsError):
        write_secret(path, text)
    return service_keys(path)


def service_keys(path: Path) -> KeyPair:
    """``NotFoundError``: there are none. ``SecurityError``: others may read them, or they are none."""
    try:
        with open(path, "rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            found = _parse(file.read(KEY_FILE_BYTES_MAX))
        keys = KeyPair(*(checked_key(found.get(name), repr(name)) for name in ("public", "secret")))
    except FileNotFoundError:
        raise NotFoundError(f"there is no key of the service {path}: make one with 'recsvc keygen'") from None
    except (OSError, ValueError) as error:
        raise SecurityError(f"the key of the service {path} cannot be read: {error}") from None
    if mode & 0o077:
        raise SecurityError(f"others may read the key of the service: 'chmod 600 {path}'")
    if zmq.curve_public(keys.secret.encode()).decode() != keys.public:
        raise SecurityError(f"the two keys in {path} do not belong together: remove it, and make new ones")
    return keys


def prepare(keys: Path, key_file: Path) -> KeyPair:
    """For a service that is about to begin: its own keys, made where there are none yet. ``SecurityError`` where nobody
    is let in."""
    own = make_service_keys(key_file)
    if not Authorized(keys).names():
        raise SecurityError(
            f"no client's key is in {keys}, so nobody could connect from another machine: make one with 'recsvc keygen "
            "NAME --authorize', or serve everybody without keys (--insecure)"
        )
    return own


def authorized_text(public: str, permissions: tuple[str, ...]) -> str:
    """What a file in the folder of authorized keys has."""
    listed = ", ".join(f'"{permission}"' for permission in permissions)
    return f'public = "{public}"\npermissions = [{listed}]\n'


def _parse(content: bytes) -> dict[str, Any]:
    import tomllib  # few processes read keys, and each role is to be ready soon

    try:
        return tomllib.loads(content.decode())
    except RecursionError:
        raise ValueError("brackets in brackets") from None


def _read_authorized(path: Path) -> tuple[str, Peer]:
    """A client's public key and what it may do. ``ValueError``, ``OSError`` with what is wrong."""
    name = path.name.removesuffix(_SUFFIX)
    if not NAME.match(name):
        raise ValueError(f"a key is called by letters, digits and _.-, not {name!r}")
    with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
        state = os.fstat(file.fileno())
        if not stat.S_ISREG(state.st_mode) or state.st_size > KEY_FILE_BYTES_MAX:
            raise ValueError(f"expected a file of at most {KEY_FILE_BYTES_MAX} bytes")
        if state.st_mode & 0o002:
            raise ValueError("everybody may write to it")
        found = _parse(file.read(KEY_FILE_BYTES_MAX))
    permissions = found.get("permissions")
    if not isinstance(permissions, list) or not all(one in PERMISSIONS for one in permissions):
        raise ValueError(f"permissions: expected a list of {', '.join(PERMISSIONS)}, not {permissions!r}")
    return checked_key(found.get("public"), "public"), Peer(name, frozenset(permissions))


class _File(NamedTuple):
    """A file in the folder of authorized keys. ``found``: the key and who has it; ``None``: it is not let in."""

    version: tuple[int, int, int]
    found: tuple[str, Peer] | None


class Authorized:
    """The keys that are let in, as the folder has them: a file that is added, changed or removed counts within a
    second. Who asks waits for that, so the whole folder is read only where a key is not known, or its file has changed.
    Not thread-safe."""

    def __init__(self, folder: Path) -> None:
        """``SecurityError`` where others may write to the folder: whoever can let himself in needs no key."""
        self._folder = folder
        with suppress(FileNotFoundError):
            if self._folder.stat().st_mode & 0o022:
                raise SecurityError(f"others may write to the folder of authorized keys: 'chmod 700 {self._folder}'")
        self._names: dict[str, str] = {}  # key -> the name of its file
        self._read: dict[str, _File] = {}
        self._seen_ns: dict[str, int] = {}  # key -> when its file was looked at last
        self._changed_ns = 0  # when the folder was, at the last look
        self._look_ns = 0  # when all of them were
        self._look()

    def peer(self, public: str) -> Peer | None:
        """Who has this key; ``None``: it is not let in. One that was put there just now is, since its client does not
        try again by itself."""
        if public not in self._names and self._has_changed():
            self._look()
        elif time.monotonic_ns() - self._seen_ns.get(public, self._look_ns) >= KEYS_LOOK_NS:
            if public in self._names and self._is_as_before(self._names[public]):
                self._seen_ns[public] = time.monotonic_ns()
            else:
                self._look()
        found = self._read[self._names[public]].found if public in self._names else None
        return None if found is None else found[1]

    def _is_as_before(self, name: str) -> bool:
        with suppress(OSError):
            return self._read[name].version == _version(os.stat(self._folder / name))
        return False

    def _has_changed(self) -> bool:
        """Whether a file was added or removed since the last look; one that was written to counts with the next."""
        try:
            return os.stat(self._folder).st_mtime_ns != self._changed_ns
        except OSError:
            return False

    def names(self) -> list[str]:
        """Of the keys that are let in."""
        return sorted(name.removesuffix(_SUFFIX) for name in self._names.values())

    def _look(self) -> None:
        """Only files that have changed are read."""
        before, self._read, self._names, self._seen_ns = self._read, {}, {}, {}
        with suppress(OSError):
            self._changed_ns = os.stat(self._folder).st_mtime_ns
        try:
            entries = sorted((e for e in os.scandir(self._folder) if e.name.endswith(_SUFFIX)), key=lambda e: e.name)
        except OSError as error:
            if before or not isinstance(error, FileNotFoundError):
                log.warning("no key is let in: the folder %s cannot be read: %s", self._folder, error)
            entries = []
        if len(entries) > KEYS_MAX:
            log.warning("%s has %d keys: only the first %d are let in", self._folder, len(entries), KEYS_MAX)
        for entry in entries[:KEYS_MAX]:
            with suppress(OSError):  # it was removed just now
                version, known = _version(entry.stat()), before.get(entry.name)
                if known is None or known.version != version:
                    known = _File(version, self._parsed(Path(entry.path)))
                self._read[entry.name] = known
                other = entry.name if known.found is None else self._names.setdefault(known.found[0], entry.name)
                if other != entry.name and known is not before.get(entry.name):
                    log.warning(
                        "the key in %s is that of %s too, which counts", entry.path, other.removesuffix(_SUFFIX)
                    )
        self._look_ns = time.monotonic_ns()

    def _parsed(self, path: Path) -> tuple[str, Peer] | None:
        try:
            return _read_authorized(path)
        except (OSError, ValueError) as error:
            log.warning("the key in %s is not let in: %s", path, error)
            return None


def _version(state: os.stat_result) -> tuple[int, int, int]:
    """Differs once the file was written or replaced."""
    return state.st_mtime_ns, state.st_ino, state.st_size
