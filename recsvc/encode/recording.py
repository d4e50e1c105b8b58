"""One recording inside a worker: its tracks, its spool file, its pieces, its end."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from ..common import mime
from ..common.limits import FIRST_FRAME_WAIT_NS, IDLE_FLUSH_NS, VIDEO_HOLD_NS, S, drain_deadline_ns
from ..common.pieces import HandedOut
from ..common.problems import noted
from ..errors import name_of
from ..mux.muxer import Muxer
from ..mux.spool import create
from ..wire import messages
from ..wire.messages import End, FrameHeader, Mark, OpenRecording, RecordingStatistics
from .account import length_ns
from .copied import Copied, Pictures, open_tracks
from .marks import Marks
from .tracks import AudioTrack, VideoTrack

_Ready = tuple[str, tuple[FrameHeader, Any]]
"""A route, and a frame of it that is to be encoded."""


class Recording:
    """Not thread-safe; the worker's loop owns it. Raises ``EncodingError`` and ``QuotaExceededError`` from its
    encoders and its disk; after that only ``finish`` and ``abandon`` may be called."""

    def __init__(self, request: OpenRecording) -> None:
        self.name = request.recording
        self.owner = request.owner
        self.path = Path(request.path)
        self.options = request.options
        self.format = mime.for_tracks(request.options.mime_type, request.tracks)
        self.stop_ns: int | None = None
        """When it ended; ``None``: the controller's stop has not come."""
        self.incomplete = ""
        """Why not everything came that was captured."""
        self._requests = Marks(request.routes)  # for data
        self._is_asked = False  # whether some media came before a request for data
        # Pictures up to this recorded time may be handed out; ``None``: all that have come.
        self._pictures_until_ns: int | None = None
        self._reached_ns: dict[str, int] = {}  # stages of the stop
        self._problems: list[Exception] = []  # of the end, which goes on in spite of them
        self._is_complete = False  # the file
        # What was paused before the newest frame of each route that its source cuts, and before the newest picture.
        self._paused_ns: dict[str, int] = {}
        self._picture_paused_ns = 0
        self._until_ns: int | None = None  # recorded time at which the last track ended
        self._first_ns = 0  # when the first frame came, on our clock
        self._duration_ns = 0
        self.active_ns, self._flushed = time.monotonic_ns(), True  # when something was encoded last
        self.tracks = open_tracks(request, self.format.video_codec)
        tracks = list(self.tracks.values())
        self._pictures = next((track for track in tracks if isinstance(track, Pictures)), None)
        for clock in (clocks := [track.clock for track in tracks]):
            clock.share(clocks)
        hold_ns = VIDEO_HOLD_NS if any(track.captured for track in request.tracks) else 0
        is_ours = create(self.path)
        try:
            entries: Any = {"video" if track.is_video else "audio": track.entry for track in tracks}
            entries |= {"hold_ns": hold_ns, "together": request.options.timeslice_ms is None}
            self._muxer = Muxer(self.path, self.format.container, **entries, origin_ns=None)
        except BaseException:
            if is_ours:
                self.path.unlink()
            raise
        self._pieces = HandedOut()

    # --- frames -----------------------------------------------------------------------------------

    def arrived(self, route: str, header: FrameHeader, payload: Any) -> list[_Ready]:
        """A frame has come. Those that are to be encoded now, each with its route: it may have to wait for the next
        ones, and their capture times are on our clock and to be believed (``clock.FrameClock``)."""
        clock, now_ns = self.tracks[route].clock, time.monotonic_ns()
        self._first_ns = self._first_ns or now_ns
        if header.since_ns and header.paused_ns != self._paused_ns.get(route, 0):
            self._paused_ns[route] = header.paused_ns
            clock.left_out(header.since_ns - header.paused_ns)
        placed = clock.take((header, payload), header.captured_ns, header.paused_ns, length_ns(header), now_ns)
        return self._ready(route, placed)

    def waited(self, route: str, now_ns: int | None = None) -> list[_Ready]:
        """Those that wait for others: all, as when nothing more comes; or at ``now_ns`` those that waited too long."""
        clock = self.tracks[route].clock
        return self._ready(route, clock.release() if now_ns is None else clock.overdue(now_ns))

    def _ready(self, route: str, placed: list[tuple[Any, int]]) -> list[_Ready]:
        ready = []
        for (header, payload), captured_ns in placed:
            header.captured_ns = captured_ns
            ready.append((route, (header, payload)))
        if self.tracks[route].clock.is_media:
            for name, track in self.tracks.items():  # what waited for a frame of this track
                if name != route and track.clock.holds and (again := track.clock.again()):
                    ready += self._ready(name, again)
        return ready

    def encode(self, route: str, header: FrameHeader, payload: Any, waiting: int = 0) -> bool:
        """Encodes one frame, of long sound a part. Whether it is done: else it must be passed again. Pictures are read
        during the call alone, sound until the next comes (its level). ``waiting``: how many more of this route wait."""
        track = self.tracks[route]
        if isinstance(track, VideoTrack):
            track.keep_up(waiting)
        if track is self._pictures and header.paused_ns != self._picture_paused_ns:
            self._picture_paused_ns = header.paused_ns
            if header.since_ns:
                self._leave_out(header.since_ns - header.paused_ns)
        packets = track.encode(header, payload)  # type: ignore[arg-type]
        if isinstance(track, Copied) and track.newly_described():
            self._muxer.describe(track.entry)
        self._begin()
        if packets:
            self._muxer.write(*packets)
        self.active_ns, self._flushed = time.monotonic_ns(), False
        return not track.unfinished

    def write(self) -> None:
        """Puts into the file what may go there by now."""
        self._muxer.look()

    def reached_by(self, route: str) -> int | None:
        """Recorded time up to which a route's track is encoded."""
        return self.tracks[route].end_ns

    def idle(self, now_ns: int) -> None:
        """To be called now and then: writes what is held once nothing has come for a while."""
        if not self._flushed and now_ns - self.active_ns >= IDLE_FLUSH_NS:
            # Nothing can be concluded from the time that goes by about media that has a clock of its own.
            self._begin(now=not any(track.clock.is_media for track in self.tracks.values()))
            self._muxer.flush()
            self._flushed = True

    def end_route(self, route: str, message: End) -> None:
        """The end of stream of one track: nothing more comes from it."""
        track = self.tracks[route]
        track.ended = True
        track.account.note_sender_totals(message.dropped, message.counted)
        until_ns = message.until_ns - message.paused_ns
        if track.clock.is_media:
            until_ns = track.media_end_ns or 0
        if message.exact and track is self._pictures:
            self._leave_out(until_ns)
        self._until_ns = until_ns if self._until_ns is None else max(self._until_ns, until_ns)
        self._begin()

    def _leave_out(self, until_ns: int) -> None:
        """Pictures captured after this recorded time (a pause, a stop) were not asked for."""
        assert self._pictures is not None
        self._pictures.left_out(*self._muxer.collect().leave_out(until_ns))

    @property
    def ended(self) -> bool:
        """Whether every track has ended."""
        return all(track.ended for track in self.tracks.values())

    @property
    def is_over(self) -> bool:
        """Whether nothing more is to come: every end of stream is there, and the controller's stop."""
        return self.ended and self.stop_ns is not None

    def _begin(self, *, now: bool = False) -> None:
        """Time 0 is the first frame of any track, once no track can have an earlier one; ``now``: or where the first
        one that has come is."""
        if self._muxer.origin_ns is not None:
            return
        firsts = [track.first_ns for track in self.tracks.values() if track.first_ns is not None]
        if not firsts:
            return
        waiting = [track for track in self.tracks.values() if track.first_ns is None and not track.ended]
        if waiting and not now:
            newest_ns = max((track.end_ns or 0) for track in self.tracks.values())
            if newest_ns - min(firsts) < FIRST_FRAME_WAIT_NS:
                return
            # Media may be written faster than it plays: its length shows nothing of what is under way.
            is_media = any(track.clock.is_media for track in waiting)
            if is_media and time.monotonic_ns() - self._first_ns < FIRST_FRAME_WAIT_NS:
                return
        self._muxer.collect().begin(min(firsts))

    # --- pieces -----------------------------------------------------------------------------------

    def due_piece(self) -> messages.DataReady | None:
        """A piece for the caller's timeslice, when enough media is in complete clusters."""
        muxer, timeslice_ms = self._muxer, self.options.timeslice_ms
        if timeslice_ms is None or not self._pieces.is_due(timeslice_ms, muxer.bytes_written, muxer.written_until_ns):
            return None
        return self._cut(asked=False) if self._bytes_final else None

    @property
    def _bytes_final(self) -> int:
        """Of the file, that others may have: none before the header, which the first piece has, says all."""
        size, is_described = self._muxer.bytes_written, all(track.is_described for track in self.tracks.values())
        return size if is_described and size > self._muxer.media_at else 0

    def ask_for_data(self, number: int) -> None:
        """A request for data: it is answered when each track has sent its mark of this number, or has ended."""
        self._requests.ask(number, time.monotonic_ns() + drain_deadline_ns(self.options.overload))

    def mark(self, route: str, message: Mark) -> None:
        """All of a track that a request for data is to give has come."""
        self._requests.mark(route, message.number)
        self._is_asked |= self.tracks[route].first_ns is not None
        if self.tracks[route] is self._pictures:
            self._pictures_until_ns = message.recorded_ns if message.exact else None

    def asked_pieces(self, now_ns: int) -> list[messages.DataReady]:
        """Answers the requests for data that all tracks have marked, or whose deadline is over."""
        pieces = []
        tracks = self.tracks.values()
        while (is_marked := self._requests.take(now_ns, lambda route: self.tracks[route].ended)) is not None:
            if not self._is_complete:
                # Where no media came before the request, it is too early to decide where the recording begins.
                self._begin(now=self._is_asked or not is_marked or any(track.ended for track in tracks))
                is_whole = self._pictures is None or self._pictures.ended
                self._muxer.flush(None if is_whole else self._pictures_until_ns)
            pieces.append(self._cut(asked=True))
        return pieces

    def _cut(self, *, asked: bool) -> messages.DataReady:
        """All that is in complete clusters and was not handed out yet; may be empty. ``asked``: by the caller."""
        size = self._bytes_final
        until_ns = self._muxer.written_until_ns if size else 0
        blob, timecode_ms = self._pieces.next(str(self.path), self.format.mime_type, size, until_ns, self._muxer.header)
        return messages.DataReady(recording=self.name, blob=blob, timecode_ms=timecode_ms, asked=asked)

    # --- the end ----------------------------------------------------------------------------------

    def reached(self, stage: str, at_ns: int | None = None) -> None:
        """Notes when a stage of the stop was reached; ``None``: now."""
        self._reached_ns[stage] = time.monotonic_ns() if at_ns is None else at_ns

    def complete(self) -> None:
        """Drains the encoders and completes the file, once, as soon as every track has ended: the controller's stop may
        still be on its way. What fails is kept for the report."""
        if self._is_complete:
            return
        self._is_complete = self._flushed = True
        for track in self.tracks.values():
            with noted(self._problems):
                # How much is to be skipped stands in the header, which may have been handed out, or be fixed.
                is_fixed = self.format.container == "ogg" or self._pieces.end > 0
                if isinstance(track, AudioTrack) and not is_fixed and track.skip_whole_packet():
                    self._muxer.set_pre_skip(track.pre_skip_samples)
                for packet in track.drain():
                    self._muxer.collect().add(packet)
        self.reached("encoders_drained")
        with noted(self._problems):
            self._begin(now=True)
        with noted(self._problems):
            self._duration_ns = self._length_ns()
            self._muxer.finish(self._duration_ns if self.ended else None, self._pieces.end)
        self.reached("muxed")

    def finish(self, error: str = "", text: str = "") -> messages.RecordingFinished:
        """Completes the file, and reports what became of everything, which counts what the file holds. A broken disk or
        encoder raises nothing: it is in the report."""
        self.complete()
        problems, written = self._problems, self._muxer.written
        if problems or not self.ended:
            self._duration_ns = written.end_ns
        if problems or error:
            for track in self.tracks.values():
                track.settle(written, "not_written" if self._muxer.failed else "failed")
        if problems and not error:
            error, text = name_of(problems[0]), f"the file could not be completed: {problems[0]}"
        size, seconds = self._muxer.bytes_written, self._duration_ns / S
        blob, whole, timecode_ms = self._pieces.rest(str(self.path), self.format.mime_type, size, seconds)
        return messages.RecordingFinished(
            recording=self.name,
            blob=blob,
            timecode_ms=timecode_ms,
            statistics=self.statistics("inactive"),
            whole=whole,
            error=error,
            text=text,
        )

    def _length_ns(self) -> int:
        """How long the recording is, up to the last end of a track."""
        origin_ns = self._muxer.origin_ns
        if origin_ns is None:
            return 0
        ends = [track.end_ns - origin_ns for track in self.tracks.values() if track.end_ns is not None]
        if self._until_ns is not None:
            ends.append(self._until_ns - origin_ns)
            last = self._muxer.collect().last_picture
            if last is not None and last.at_ns >= ends[-1]:  # stamps that run ahead of time
                ends.append(last.at_ns + last.duration_ns)
        return max([0, *ends])

    def close(self) -> None:
        """Frees the encoders, which takes a while: nobody waits for it once the report was sent."""
        for track in self.tracks.values():
            track.close()

    def abandon(self, cause: str) -> None:
        """What has come and is not encoded by now will not be any more; the frame on which an encoder failed too."""
        for track in self.tracks.values():
            track.account.settle(cause)

    def _stages_ns(self) -> dict[str, int]:
        """How long after the stop. What another clock commanded may seem to come after what followed from it."""
        stop_ns = self.stop_ns
        return {} if stop_ns is None else {stage: max(0, at - stop_ns) for stage, at in self._reached_ns.items()}

    def statistics(self, state: str = "recording") -> RecordingStatistics:
        return RecordingStatistics(
            state=state,
            duration=(self._duration_ns or self._length_ns()) / S,
            size_bytes=self._muxer.bytes_written,
            tracks=tuple(track.statistics() for track in self.tracks.values()),
            stop_stages_ns=self._stages_ns(),
        )
