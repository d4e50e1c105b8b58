"""mux: ready packets in, a seekable spool file out. After RFC 9559 and 8794 (Matroska), 3533 and 7845 (Ogg).

The spool file of WebM and Matroska consists of
- a header (EBML head, SeekHead, Info, Tracks), ``Muxer.header``. ``finish()`` patches three places
  in it (Segment size, the SeekHead's entry for the Cues, Duration); nothing else ever changes;
- clusters of known size, each appended as a whole once it is complete. Until ``finish()`` the Segment has
  unknown size, so that the file plays at any time, up to its last cluster;
- the Cues, at the end.
An Ogg file is pages in a row; nothing in it is ever patched.

A kill loses the packets that wait for others (``packets.INTERLEAVE_MAX_MS``) and the open cluster
(``matroska.CLUSTER_MAX_MS``) or page (``ogg.PAGE_MS``): less than one second.

Why not libavformat: its interleaving waits for a silent VP8 or VP9 track without end
(``max_interleave_delta`` leaves these codecs out), so that under a still picture the sound would pile up in
memory, and be gone after a crash; it cannot close a cluster before the next packet; and it takes a
recording's length from its packets only.
"""

import contextlib
import logging
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Literal

from .. import errors
from .matroska import MatroskaWriter
from .ogg import OggWriter
from .packets import Interleaver, Packet, VideoPacket
from .spool import FULL, AudioEntry, CopiedEntry, SpoolFile, VideoEntry, Written

log = logging.getLogger("recsvc.encode")

_TOGETHER_MAX = 16
"""Packets that ``write()`` keeps, so that they go to the file together; with this many they do."""


class Muxer:
    """Writes the packets of one recording. Not thread-safe; every call may block on the disk.

    Packets of one track come in their order, the first picture is a key frame; those of different tracks should come
    within ``packets.INTERLEAVE_MAX_MS`` of each other: later ones stand in the file after younger ones, which seeking
    and some players stumble over. A picture in the same millisecond as the one before is moved to the next. ``data`` is
    kept without a copy until it is written: do not change it.

    A full disk or a file-size limit raises ``QuotaExceededError``, any other failure ``UnknownError``, with
    path and reason; further calls raise the same, and ``finish()`` remains to be called: it completes the file as far
    as it was written. After ``finish()`` or ``abort()``, writing raises ``InvalidStateError``.
    """

    media_at: int
    """Where media begins in the file."""

    def __init__(
        self,
        path: str | os.PathLike[str],
        container: Literal["webm", "matroska", "ogg"],
        *,
        video: VideoEntry | CopiedEntry | None = None,
        audio: AudioEntry | CopiedEntry | None = None,
        hold_ns: int = 0,
        origin_ns: int | None = 0,
        together: bool = False,
    ) -> None:
        """Creates (or empties) the file and writes its header.

        ``hold_ns``: pictures wait this long, in media time, and may be left out. ``origin_ns``: recorded time at which
        the file's begins; ``None``: packets wait for ``collect().begin()``. ``together``: ``write()`` keeps packets
        until ``look()`` is called, or something of them is asked for.

        Raises ``NotSupportedError`` for tracks that the container cannot hold, ``ValueError`` for none.
        """
        if container not in ("webm", "matroska", "ogg"):
            raise ValueError(f"container must be webm, matroska or ogg, not {container!r}")
        if video is None and audio is None:
            raise ValueError("a recording needs a video or an audio track")
        if container == "ogg" and video is not None:
            raise errors.NotSupportedError(f"an Ogg recording holds one Opus track, not {video}")
        self._path = os.fspath(path)
        self._failure: errors.RecorderError | None = None
        self._closed = False
        self._has_video, self._audio = video is not None, audio
        self._given: list[Packet] = []  # nobody has looked at yet
        self._together = together
        self._waiting = Interleaver(
            video=video is not None, audio=audio is not None, hold_ns=hold_ns, origin_ns=origin_ns
        )
        try:
            self._spool = SpoolFile(self._path)
            self._writer: MatroskaWriter | OggWriter
            if container == "ogg":
                assert isinstance(audio, AudioEntry)
                self._writer = OggWriter(self._spool, audio)
            else:
                self._writer = MatroskaWriter(self._spool, container, video, audio)
        except OSError as error:
            self.abort()
            raise self._failed(error) from error
        self.media_at = self._spool.size

    def set_pre_skip(self, pre_skip_samples: int) -> None:
        """Another pre-skip than the one announced; only before the first sound was written, and not for Ogg."""
        if not isinstance(self._writer, MatroskaWriter) or not isinstance(self._audio, AudioEntry):
            raise errors.InvalidStateError(f"{self._path}: the pre-skip of this recording is fixed")
        self._audio = self._audio._replace(pre_skip_samples=pre_skip_samples)
        self._do(self._writer.describe, None, self._audio)

    def describe(self, entry: CopiedEntry) -> None:
        """Of a track that is encoded elsewhere, what its first key frame has shown. Before that nothing may be handed
        out of the file. ``EncodingError``: the header has no room for it."""
        assert isinstance(self._writer, MatroskaWriter)
        try:
            self._do(self._writer.describe, *((entry, None) if entry.width else (None, entry)))
        except ValueError as error:
            raise errors.EncodingError(f"{self._path}: {error}") from None

    def write(self, *packets: Packet) -> None:
        """Takes packets, at least one, all of one track, which go to the file in their turn. ``ValueError``: there can
        be no such packet, or was none in an earlier call."""
        kind = "video" if isinstance(packets[0], VideoPacket) else "audio"
        if not (self._has_video if kind == "video" else self._audio):
            raise errors.InvalidStateError(f"{self._path}: this recording has no {kind} track")
        self._check()
        self._given += packets
        if not self._together or len(self._given) >= _TOGETHER_MAX:
            self._put(self.collect().ready())

    def look(self) -> None:
        """Puts what may go there into the file, of packets that ``write()`` has kept."""
        if self._given:
            self._check()
            self._put(self.collect().ready())

    def flush(self, pictures_until_ns: int | None = None) -> None:
        """Puts what has come so far into the file, but for pictures that begin after ``pictures_until_ns`` (recorded
        time): for when no packet is to be expected soon, so that a crash loses nothing, or when it is to be handed
        out. Packets of another track may still come with an earlier time."""
        self._check()
        self._put(self.collect().rest(pictures_until_ns))
        self._do(self._writer.flush)

    def _put(self, packets: Iterable[tuple[int, Packet]]) -> None:
        try:
            for ms, packet in packets:
                self._writer.put(ms, packet)
        except OSError as error:
            raise self._failed(error) from error

    def _do(self, call: Callable[..., None], *arguments: Any) -> None:
        self._check()
        try:
            call(*arguments)
        except OSError as error:
            raise self._failed(error) from error

    def finish(self, duration_ns: int | None, least: int = 0) -> None:
        """Completes and closes the file; all of it is with the operating system when this returns.

        ``duration_ns``, the length up to the stop, becomes the Duration element, whatever the packets' own
        ends (an Ogg file's length is the end of its last packet), and the last picture lasts until then; ``None``: up
        to the end of the last packet. It takes
        the time for less than a second of media and the Cues, which are ready: whatever the length of the recording.

        Where the disk fails, or has failed before, what is torn is cut off and the rest is completed: ``written``
        is what the file then holds. It raises all the same. The first ``least`` bytes are not cut in any case.
        """
        if duration_ns is not None and duration_ns < 0:
            raise ValueError(f"duration_ns must not be negative: {duration_ns}")
        try:
            self._check()
            self._put(self.collect().finish(duration_ns))
            self._writer.finish(duration_ns)
            self._spool.close()
        except OSError as error:
            self._salvage(least)
            raise self._failed(error) from error
        except errors.RecorderError:
            if not self._closed:
                self._salvage(least)
            raise
        finally:
            self.abort()

    def _salvage(self, least: int) -> None:
        try:
            self._writer.salvage(least)
        except (OSError, ValueError) as error:  # the latter: the file is closed, which failed
            log.warning(
                "%s plays, but is not complete: %s", self._path, error, extra={"recording": Path(self._path).stem}
            )

    def abort(self) -> None:
        """Closes the file as it is, playable up to its last cluster. Never raises; any number of times."""
        self._closed = True
        with contextlib.suppress(OSError, AttributeError):  # the latter: it could not even be opened
            self._spool.close()

    def collect(self) -> Interleaver:
        """Puts what ``write()`` has kept to the packets that are not in the file yet, and returns these; the last ones
        may be added there, for ``finish()``."""
        given, self._given = self._given, []
        for packet in given:
            self._waiting.add(packet)
        return self._waiting

    @property
    def origin_ns(self) -> int | None:
        """Recorded time at which the file's begins; ``None``: packets wait for ``collect().begin()``."""
        return self._waiting.origin_ns

    @property
    def failed(self) -> bool:
        """Whether the disk has failed."""
        return self._failure is not None

    @property
    def header(self) -> bytes:
        """What the file begins with as long as it is not finished. Nothing else that is written changes ever; in an
        Ogg file nothing at all."""
        return self._writer.header

    @property
    def written(self) -> Written:
        """What is in the file."""
        return self._writer.written

    @property
    def bytes_written(self) -> int:
        """Size of the file so far, always a whole number of clusters or pages; others may read all of it."""
        return self._spool.size

    @property
    def written_until_ns(self) -> int:
        """Recording time up to which these bytes hold the media: the latest block's time, the last page's end."""
        return self._writer.written_until_ns

    def _check(self) -> None:
        if self._failure is not None:
            raise type(self._failure)(*self._failure.args)
        if self._closed:
            raise errors.InvalidStateError(f"{self._path}: the recording's file is already closed")

    def _failed(self, error: OSError) -> errors.RecorderError:
        kind = errors.QuotaExceededError if error.errno in FULL else errors.UnknownError
        self._failure = kind(f"cannot write {self._path}: {error.strerror or error}")
        return self._failure
