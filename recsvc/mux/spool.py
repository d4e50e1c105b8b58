"""What the writers of both containers share: the spool file, and what its header says of the tracks."""

import errno
import fcntl
import io
import os
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

from ..common.media import BT601, FRAME_SIDE_MAX, Colours, colours_of
from ..errors import InvalidStateError

FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
"""The disk, a quota, or the largest size of a file."""


class VideoEntry(NamedTuple):
    """The video track as its header describes it: the size of the first frame in pixels; ``display``: the size at which
    it is to be shown, where its pixels are no squares."""

    codec: Literal["vp8", "vp9"]
    width: int
    height: int
    colours: Colours = BT601
    display: tuple[int, int] | None = None


def video_entry(codec: Literal["vp8", "vp9"], settings: Mapping[str, Any]) -> VideoEntry:
    """The track that has these settings."""
    size = int(settings["width"]), int(settings["height"])
    display = int(settings.get("display_width", size[0])), int(settings.get("display_height", size[1]))
    is_sane = display != size and min(display) > 0 and max(display) <= FRAME_SIDE_MAX
    return VideoEntry(codec, *size, colours_of(settings).coded_as(codec), display if is_sane else None)


class AudioEntry(NamedTuple):
    """The Opus track: ``pre_skip_samples`` is in 48 kHz samples (RFC 7845); the input's rate
    (Hz) is for information only (RFC 7845 section 5.1)."""

    channel_count: int
    pre_skip_samples: int
    input_sample_rate: int


class CopiedEntry(NamedTuple):
    """A track that is encoded elsewhere: Matroska's name for its codec, and its CodecPrivate, ``None`` as long as that
    is not known. Of pictures the size in pixels, and at which they are to be shown; of sound the rest."""

    codec_id: str
    private: bytes | None
    width: int = 0
    height: int = 0
    display: tuple[int, int] | None = None
    sample_rate: int = 0
    channel_count: int = 0
    delay_ns: int = 0
    bits: int = 0


class Written(NamedTuple):
    """What a spool file holds, in whole clusters or pages: pictures, samples of sound at 48 kHz (those that are skipped
    at the front too; of sound that is encoded elsewhere packets), the recording time at which the last of it ends;
    ``cues`` in bytes."""

    size: int
    pictures: int = 0
    samples: int = 0
    end_ns: int = 0
    cues: int = 0


def lock(descriptor: int) -> bool:
    """Takes a file for this process until the descriptor is closed, at the latest with the process; ``False``
    when somebody else has it. By this a file being written is told from one left behind."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:  # a file system without locks: nobody is kept from anything
        if error.errno not in (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS, errno.EINVAL):
            raise
    return True


def create(path: Path) -> bool:
    """Whether there is a new, empty file now; what prevents it is found again when it is opened. Nothing that is there
    is ever replaced: ``InvalidStateError``."""
    try:
        path.touch(exist_ok=False)
    except FileExistsError:
        raise InvalidStateError(f"there is a recording {path} already") from None
    except OSError:
        return False
    return True


class SpoolFile(io.FileIO):
    """An unbuffered file, locked while it is open, that is only appended to, but for patches in its header."""

    def __init__(self, path: str) -> None:
        super().__init__(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666), "r+")
        try:
            if not lock(self.fileno()):
                raise OSError(errno.EBUSY, "another process is writing it")
            if os.fstat(self.fileno()).st_size:
                self.truncate(0)
        except OSError:
            self.close()
            raise
        self.size = 0

    def write(self, data: bytes | bytearray) -> int:  # type: ignore[override]
        """Appends all of ``data``, of which a nearly full disk takes only a part at once."""
        count = 0
        while count < len(data):
            count += os.write(self.fileno(), memoryview(data)[count:])
        self.size += count
        return count

    def patch(self, at: int, data: bytes) -> None:
        if os.pwrite(self.fileno(), data, at) != len(data):
            raise OSError(errno.EIO, "a few bytes were written only in part")

    def cut(self, size: int) -> None:
        """The file ends there, and goes on there: what a failed write left of its data is gone."""
        os.ftruncate(self.fileno(), size)
        self.seek(size)
        self.size = size


def opus_head(track: AudioEntry) -> bytes:
    """The identification header (RFC 7845 section 5.1): version 1, no gain, mono or stereo."""
    return struct.pack("<8sBBHIhB", b"OpusHead", 1, *track, 0, 0)
