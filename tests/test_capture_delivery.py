"""When decoded media goes on: to the nanosecond, on a clock that the test moves; nobody waits longer than said."""

import threading
from collections.abc import Callable
from typing import NamedTuple

import pytest
from fixtures_media import KeepingSink, wait_until
from media import DEADLINE_S

from recsvc.capture.delivery import Playout, Unpaced
from recsvc.capture.limits import BLOCK_NS, JUMP_NS, LIVE_FLUSH_NS, PLAYOUT_AHEAD_NS, PLAYOUT_FLUSH_NS, PROBE_NS
from recsvc.capture.live import Live
from recsvc.capture.source import AudioFormat, PacketFormat, TrackInfo, VideoFormat
from recsvc.common.media import BT601
from recsvc.common.packet_limits import CATCH_UP_NS, CATCH_UP_NS_MAX, PACKET_MESSAGES_NS
from recsvc.errors import NotReadableError
from recsvc.wire.frames import Packet

S = 1_000_000_000
MS = 1_000_000
RATE = 8_000
INTERVAL_NS = S // 25
SOUND = TrackInfo("audio", "", AudioFormat(RATE, 1, "s16"))
FILM = TrackInfo("video", "", VideoFormat.of((4, 2), "i420", 25.0, BT601))
BEGIN_NS = 5 * S


class Watched(threading.Condition):
    """Counts its notifications, so that one can tell who still waits from who was woken."""

    notified = 0

    def notify(self, n: int = 1) -> None:
        self.notified += 1
        super().notify(n)


class Waiting(NamedTuple):
    changed: Watched
    notified: int
    until_ns: int | None

    @property
    def woken(self) -> bool:
        return self.changed.notified != self.notified


class FakeClock:
    """Stands still until it is moved, and knows who waits and until when."""

    def __init__(self) -> None:
        self.ns = BEGIN_NS
        self._waiting: dict[int, Waiting] = {}

    def now_ns(self) -> int:
        return self.ns

    def wait(self, changed: Watched, until_ns: int | None) -> bool:
        if until_ns is not None and until_ns <= self.ns:
            return False
        me = threading.get_ident()
        self._waiting[me] = Waiting(changed, changed.notified, until_ns)
        changed.wait()
        del self._waiting[me]
        return until_ns is None or self.ns < until_ns

    def idle(self, thread: threading.Thread) -> Waiting | None:
        """What a thread waits for that nobody has woken."""
        waiting = self._waiting.get(thread.ident or 0)
        if waiting is None:
            return None
        with waiting.changed:
            due = waiting.until_ns is not None and waiting.until_ns <= self.ns
            return None if waiting.woken or due else self._waiting.get(thread.ident or 0)

    def until(self, thread: threading.Thread) -> int | None:
        """Until when a thread waits; fails when it never does."""
        waiting: Waiting = wait_until(lambda: self.idle(thread), f"{thread.name} waiting", DEADLINE_S)
        return waiting.until_ns

    def move(self, to_ns: int) -> None:
        """Wakes those whose time has come."""
        self.ns = to_ns
        for waiting in list(self._waiting.values()):
            if waiting.until_ns is not None and waiting.until_ns <= to_ns:
                with waiting.changed:
                    waiting.changed.notify_all()


def thread_of(function: Callable[..., object], *arguments: object) -> threading.Thread:
    thread = threading.Thread(target=function, args=arguments, name=function.__qualname__, daemon=True)
    thread.start()
    return thread


def ended(thread: threading.Thread) -> None:
    thread.join(DEADLINE_S)
    assert not thread.is_alive(), f"{thread.name} still waits"


class Play:
    """A playout that has begun, and what came of it."""

    def __init__(self, *tracks: TrackInfo) -> None:
        self.clock = FakeClock()
        self.playout = Playout(list(tracks), self.clock)  # type: ignore[arg-type]
        self.playout.changed = Watched()
        self.sinks = {track.kind: KeepingSink() for track in tracks}
        self.playout.begin(self.sinks)  # type: ignore[arg-type]
        assert self.playout._thread is not None
        self.thread = self.playout._thread

    def at(self, media_ns: int) -> None:
        """Moves to this time of the media; the playout has done what was due."""
        self.clock.move(BEGIN_NS + media_ns)
        wait_until(lambda: self.clock.idle(self.thread) or not self.thread.is_alive(), "the playout", DEADLINE_S)

    @property
    def pictures(self) -> list[int]:
        return [picture.captured_ns - BEGIN_NS for picture in self.sinks["video"].pictures]

    @property
    def sounds(self) -> list[tuple[int, int]]:
        """Of each block: its media time and how many samples it has."""
        return [(block.captured_ns - BEGIN_NS, len(block.samples) // 2) for block in self.sinks["audio"].sounds]


@pytest.fixture
def film():
    play = Play(FILM)
    yield play
    ended(thread_of(play.playout.close))


@pytest.fixture
def both():
    play = Play(SOUND, FILM)
    yield play
    ended(thread_of(play.playout.close))


def samples(count: int) -> bytes:
    return bytes(2 * count)


# --- real time ------------------------------------------------------------------------------------


def test_a_picture_goes_when_it_is_due_and_not_a_nanosecond_before(film):
    film.playout.video(100 * MS, b"1")
    film.at(100 * MS - 1)
    assert film.pictures == []
    film.at(100 * MS)
    assert film.pictures == [100 * MS]


def test_pictures_that_are_due_together_go_together_in_order(film):
    for number in range(3):
        film.playout.video(number * MS, b"%d" % number)
    film.at(2 * MS - 1)
    assert film.pictures == [0, MS]
    film.at(5 * S)
    assert [bytes(p.picture) for p in film.sinks["video"].pictures] == [b"0", b"1", b"2"]


def test_a_reader_is_held_exactly_as_far_ahead_as_said(film):
    film.playout.video(PLAYOUT_AHEAD_NS, b"at the limit")  # returns
    reader = thread_of(film.playout.video, PLAYOUT_AHEAD_NS + 1, b"beyond it")
    assert film.clock.until(reader) == BEGIN_NS + 1
    film.at(1)
    ended(reader)
    film.at(PLAYOUT_AHEAD_NS + 1)
    assert film.pictures == [PLAYOUT_AHEAD_NS, PLAYOUT_AHEAD_NS + 1]


def test_sound_is_held_as_far_ahead_too(both):
    both.playout.audio(PLAYOUT_AHEAD_NS, samples(8))
    reader = thread_of(both.playout.audio, PLAYOUT_AHEAD_NS + 1, samples(8))
    assert both.clock.until(reader) == BEGIN_NS + 1
    both.at(1)
    ended(reader)


def test_sound_goes_in_blocks_of_the_length_that_a_device_would_give(both):
    block = BLOCK_NS * RATE // S
    both.playout.audio(0, samples(2 * block + 3))
    both.at(BLOCK_NS - S // RATE - 1)
    assert both.sounds == []
    both.at(BLOCK_NS)
    assert both.sounds[0][0] == 0 and block <= both.sounds[0][1] <= block + 1
    both.at(3 * BLOCK_NS)
    assert sum(count for _, count in both.sounds) == 2 * block + 3, "a rest is not kept for more that never comes"
    at = 0
    for media_ns, count in both.sounds:
        assert media_ns == at * S // RATE
        at += count


def test_sound_that_comes_late_goes_at_once(both):
    both.at(S)
    both.playout.audio(0, samples(80))
    wait_until(lambda: both.sounds, "late sound", DEADLINE_S)
    assert both.sounds == [(0, 80)]


def test_it_sleeps_until_the_first_of_the_pictures_that_wait(film):
    film.playout.video(10 * MS, b"1")
    film.playout.video(20 * MS, b"2")
    assert film.clock.until(film.thread) == BEGIN_NS + 10 * MS
    film.at(10 * MS)
    assert film.pictures == [10 * MS] and film.clock.until(film.thread) == BEGIN_NS + 20 * MS


def test_the_rest_of_a_block_that_a_flush_has_cut_is_due_at_its_own_end(both):
    """Shorter than a block by then, with another one after it, which stays as it is."""
    both.playout.audio(0, bytes(range(2 * RATE * 12 // 1000)))
    both.playout.audio(12 * MS, samples(RATE * 12 // 1000))
    both.clock.ns = BEGIN_NS + 6 * MS
    both.playout.flush(both.clock.ns)
    assert both.sounds == [(0, RATE * 6 // 1000 + 1)]
    assert both.clock.until(both.thread) == BEGIN_NS + 12 * MS
    both.at(12 * MS)
    both.at(S)
    assert sum(count for _, count in both.sounds) == 2 * (RATE * 12 // 1000)
    assert b"".join(block.samples for block in both.sinks["audio"].sounds)[: RATE * 24 // 1000] == bytes(
        range(2 * RATE * 12 // 1000)
    )
    assert [media_ns for media_ns, _ in both.sounds] == sorted(media_ns for media_ns, _ in both.sounds)


def test_an_end_is_told_when_the_last_picture_is_over_and_not_before(film):
    film.playout.video(0, b"1")
    film.playout.end(None)
    film.at(INTERVAL_NS - 1)
    assert film.pictures == [0] and not film.sinks["video"].ends
    film.at(INTERVAL_NS)
    ended(film.thread)
    assert [error for _, error in film.sinks["video"].ends] == [None]


def test_each_track_ends_for_itself_with_the_error_of_the_input(both):
    error = NotReadableError("broken")
    both.playout.audio(0, samples(8))  # 1 ms
    both.playout.video(0, b"1")
    both.playout.end(error)
    both.at(MS - 1)
    assert not both.sinks["audio"].ends
    both.at(MS)
    assert [e for _, e in both.sinks["audio"].ends] == [error] and not both.sinks["video"].ends
    both.at(INTERVAL_NS)
    ended(both.thread)
    assert [e for _, e in both.sinks["video"].ends] == [error]


def test_the_end_of_an_input_without_media_comes_at_once(film):
    film.playout.end(None)
    ended(film.thread)
    assert len(film.sinks["video"].ends) == 1


def test_the_end_waits_for_what_is_not_due_yet(both):
    both.playout.video(200 * MS, b"late")
    both.playout.audio(0, samples(8))
    both.playout.end(None)
    both.at(200 * MS - 1)
    assert len(both.sinks["audio"].ends) == 1 and not both.sinks["video"].ends
    both.at(200 * MS + INTERVAL_NS)
    ended(both.thread)
    assert both.pictures == [200 * MS] and len(both.sinks["video"].ends) == 1


# --- flush ----------------------------------------------------------------------------------------


def test_a_flush_cuts_sound_at_the_sample_and_pictures_at_the_nanosecond(both):
    both.playout.audio(0, samples(80))
    both.playout.video(0, b"0")
    both.playout.video(5 * MS, b"1")
    both.playout.video(9 * MS, b"2")
    both.clock.ns = BEGIN_NS + 8 * MS
    for until_ns, count, pictures in ((5 * MS - 1, 40, 1), (5 * MS, 41, 2), (5 * MS + S // RATE, 42, 2)):
        both.playout.flush(BEGIN_NS + until_ns)
        assert sum(n for _, n in both.sounds) == count and len(both.pictures) == pictures
    assert both.sounds == [(0, 40), (40 * S // RATE, 1), (41 * S // RATE, 1)]


def test_a_flush_of_the_future_is_one_of_now(film):
    film.playout.video(0, b"0")
    film.playout.video(MS, b"1")
    film.playout.flush(BEGIN_NS + S)
    assert film.pictures == [0]


def test_a_flush_waits_for_a_reader_that_is_behind_and_no_longer_than_said(film):
    film.at(S)
    flushing = thread_of(film.playout.flush, BEGIN_NS + S)
    assert film.clock.until(flushing) == BEGIN_NS + S + PLAYOUT_FLUSH_NS
    film.clock.move(BEGIN_NS + S + PLAYOUT_FLUSH_NS - 1)
    assert film.clock.until(flushing)
    film.clock.move(BEGIN_NS + S + PLAYOUT_FLUSH_NS)
    ended(flushing)


def test_a_flush_returns_when_the_reader_has_come_past_it(film):
    film.at(S)
    flushing = thread_of(film.playout.flush, BEGIN_NS + S)
    assert film.clock.until(flushing)
    film.playout.video(S, b"up to there")
    film.at(S + 1)
    assert film.clock.until(flushing), "more of that time may follow"
    film.playout.video(S + 1, b"past it")
    ended(flushing)


def test_a_flush_does_not_wait_for_a_reader_that_has_ended(film):
    film.at(S)
    flushing = thread_of(film.playout.flush, BEGIN_NS + S)
    assert film.clock.until(flushing)
    film.playout.end(None)
    ended(flushing)


# --- closing --------------------------------------------------------------------------------------


def test_closing_wakes_a_playout_that_has_nothing_to_do_for_long():
    for media_ns in (None, PLAYOUT_AHEAD_NS):
        play = Play(FILM)
        if media_ns is not None:
            play.playout.video(media_ns, b"much later")
        assert play.clock.until(play.thread) == (None if media_ns is None else BEGIN_NS + media_ns)
        ended(thread_of(play.playout.close))
        assert not play.thread.is_alive()
        assert not play.sinks["video"].pictures and not play.sinks["video"].ends


@pytest.mark.parametrize("kind", ["audio", "video"])
def test_closing_wakes_a_reader_that_is_far_ahead(kind):
    play = Play(SOUND, FILM)
    reader = thread_of(getattr(play.playout, kind), 60 * S, samples(8))
    assert play.clock.until(reader) == BEGIN_NS + 60 * S - PLAYOUT_AHEAD_NS
    ended(thread_of(play.playout.close))
    ended(reader)
    assert not play.sinks["video"].pictures and not play.sinks["audio"].sounds


def test_closing_wakes_a_flush_which_then_gives_nothing():
    play = Play(SOUND, FILM)
    play.at(S)
    play.playout.audio(S, samples(80))
    flushing = thread_of(play.playout.flush, BEGIN_NS + S)
    assert play.clock.until(flushing)
    ended(thread_of(play.playout.close))
    ended(flushing)
    play.clock.ns += S
    play.playout.flush(BEGIN_NS + 2 * S)
    assert not play.sinks["audio"].sounds


def test_a_playout_that_never_began_closes():
    ended(thread_of(Playout([FILM], FakeClock()).close))  # type: ignore[arg-type]


# --- as fast as it is taken -----------------------------------------------------------------------


def test_unpaced_media_is_given_once_it_is_wanted_and_begins_then():
    clock = FakeClock()
    unpaced = Unpaced([SOUND, FILM], clock)  # type: ignore[arg-type]
    sinks = {"audio": KeepingSink(wanted=False), "video": KeepingSink(wanted=False)}
    unpaced.begin(sinks)  # type: ignore[arg-type]
    reader = thread_of(unpaced.audio, 3 * MS, samples(8))
    clock.move(BEGIN_NS + S)
    sinks["video"].wanted.set()  # one of the two is enough
    ended(reader)
    unpaced.video(4 * MS, b"1")
    clock.move(BEGIN_NS + 2 * S)
    unpaced.video(44 * MS, b"2")
    unpaced.flush(BEGIN_NS)
    unpaced.end(None)
    assert [s.captured_ns for s in sinks["audio"].sounds] == [BEGIN_NS + S + 3 * MS]
    assert [p.captured_ns for p in sinks["video"].pictures] == [BEGIN_NS + S + 4 * MS, BEGIN_NS + S + 44 * MS]
    assert all(len(sink.ends) == 1 for sink in sinks.values())


@pytest.mark.parametrize("call", ["audio", "video", "end"])
def test_closing_ends_the_wait_for_a_recording_and_nothing_is_given(call):
    unpaced = Unpaced([SOUND, FILM], FakeClock())  # type: ignore[arg-type]
    sinks = {"audio": KeepingSink(wanted=False), "video": KeepingSink(wanted=False)}
    unpaced.begin(sinks)  # type: ignore[arg-type]
    reader = thread_of(getattr(unpaced, call), *([] if call == "end" else [0, samples(8)]))
    unpaced.close()
    ended(reader)
    assert not any(sink.sounds or sink.pictures or sink.ends for sink in sinks.values())


# --- live -----------------------------------------------------------------------------------------


class Stream:
    """A live delivery, begun at once or not, of which nothing has piled up unless it is said."""

    def __init__(self, *tracks: TrackInfo, begun: bool = True, recorded: bool = True, piled_up: bool = False) -> None:
        self.clock = FakeClock()
        self.live = Live(list(tracks), self.clock)  # type: ignore[arg-type]
        self.live.changed = Watched()
        self.live._catches_up = piled_up
        self.sinks = {track.kind: KeepingSink() for track in tracks}
        for sink in self.sinks.values():
            sink.is_recorded = recorded
        if begun:
            self.live.begin(self.sinks)  # type: ignore[arg-type]


def test_live_media_goes_on_at_once_with_the_time_of_its_arrival():
    stream = Stream(SOUND, FILM)
    stream.live.video(77 * S, b"1")
    stream.clock.move(BEGIN_NS + 40 * MS)
    stream.live.video(77 * S + 40 * MS, b"2")
    assert [p.captured_ns for p in stream.sinks["video"].pictures] == [BEGIN_NS, BEGIN_NS + 40 * MS]
    stream.live.audio(77 * S + 39 * MS, samples(8))  # 1 ms, of which the last sample arrived now
    assert [s.captured_ns for s in stream.sinks["audio"].sounds] == [BEGIN_NS + 39 * MS]


def test_live_media_from_before_the_beginning_is_not_given():
    stream = Stream(SOUND, FILM, begun=False)
    stream.live.video(0, b"before")
    stream.clock.move(BEGIN_NS + S)
    stream.live.begin(stream.sinks)  # type: ignore[arg-type]
    stream.live.video(S - 1, b"just before")
    stream.live.video(S, b"at the beginning")
    stream.live.audio(S - MS, samples(8))  # over when it begins
    assert [bytes(p.picture) for p in stream.sinks["video"].pictures] == [b"at the beginning"]
    assert not stream.sinks["audio"].sounds


def test_live_media_that_is_early_is_held_back_unless_it_has_jumped():
    stream = Stream(FILM)
    stream.live.video(0, b"0")
    reader = thread_of(stream.live.video, JUMP_NS, b"as early as may be")
    assert stream.clock.until(reader) == BEGIN_NS + JUMP_NS
    stream.clock.move(BEGIN_NS + JUMP_NS)
    ended(reader)
    stream.live.video(3 * JUMP_NS, b"a jump")  # returns at once
    times = [p.captured_ns - BEGIN_NS for p in stream.sinks["video"].pictures]
    assert times == [0, JUMP_NS, JUMP_NS]


def test_what_had_piled_up_is_not_given_and_makes_nothing_later_that_follows():
    """A second of it is read within 20 ms as a recording begins. It is older, and what follows is on time."""
    stream = Stream(FILM, piled_up=True)
    for number in range(26):
        stream.live.video(number * 40 * MS, b"old")
        stream.clock.ns += MS * (number < 20)
    beginning = thread_of(stream.live.catch_up)
    until_ns = stream.clock.until(beginning)
    assert until_ns == BEGIN_NS + 20 * MS + CATCH_UP_NS
    stream.clock.move(until_ns)
    ended(beginning)
    assert not stream.sinks["video"].pictures
    stream.clock.ns = BEGIN_NS + 60 * MS  # 40 ms after the last that had piled up
    stream.live.video(26 * 40 * MS, b"new")
    assert [p.captured_ns for p in stream.sinks["video"].pictures] == [BEGIN_NS + 60 * MS]


@pytest.mark.parametrize("piled_up", [False, True])
def test_a_server_that_knows_no_time_is_held_back_though_nobody_records(piled_up):
    """Only so much as may have piled up while it was opened goes by at once."""
    stream = Stream(FILM, recorded=False, piled_up=piled_up)
    for number in range(PROBE_NS // (100 * MS) + 1):
        stream.live.video(number * 100 * MS, b"at once")
    reader = thread_of(stream.live.video, PROBE_NS + 100 * MS, b"in time")
    assert stream.clock.until(reader) == BEGIN_NS + 100 * MS
    stream.live.close()
    ended(reader)


def test_live_media_that_is_early_moves_the_clock_while_nobody_records():
    """So a reader or a network that was slow when the source was opened makes no recording late for good."""
    stream = Stream(FILM, recorded=False)
    stream.live.video(0, b"late")
    stream.live.video(500 * MS, b"on time")  # returns at once
    stream.clock.ns += 40 * MS
    stream.live.video(540 * MS, b"on time")
    assert [p.captured_ns - BEGIN_NS for p in stream.sinks["video"].pictures] == [0, 0, 40 * MS]


def test_closing_wakes_live_media_that_is_held_back():
    stream = Stream(FILM)
    stream.live.video(0, b"0")
    reader = thread_of(stream.live.video, JUMP_NS, b"early")
    assert stream.clock.until(reader)
    stream.live.close()
    ended(reader)
    assert len(stream.sinks["video"].pictures) == 1


def test_a_live_flush_waits_for_every_track_and_no_longer_than_said():
    stream = Stream(SOUND, FILM)
    flushing = thread_of(stream.live.flush, BEGIN_NS)
    assert stream.clock.until(flushing) == BEGIN_NS + LIVE_FLUSH_NS
    stream.clock.ns = BEGIN_NS + 40 * MS
    stream.live.video(0, b"0")
    assert stream.clock.until(flushing), "sound is still under way"
    stream.live.audio(-10 * MS, samples(80))  # arrived now
    ended(flushing)
    flushing = thread_of(stream.live.flush, BEGIN_NS + S)
    limit_ns = stream.clock.ns + LIVE_FLUSH_NS
    assert stream.clock.until(flushing) == limit_ns
    stream.clock.move(limit_ns)
    ended(flushing)


@pytest.mark.parametrize("call", ["close", "end"])
def test_a_live_flush_does_not_outlast_the_stream(call):
    stream = Stream(FILM)
    flushing = thread_of(stream.live.flush, BEGIN_NS)
    assert stream.clock.until(flushing)
    getattr(stream.live, call)()
    ended(flushing)


def test_the_end_of_a_stream_that_was_not_begun_comes_when_it_is():
    stream = Stream(FILM, begun=False)
    error = NotReadableError("broken")
    stream.live.end(error)
    stream.live.end(None)
    assert not stream.sinks["video"].ends
    stream.live.begin(stream.sinks)  # type: ignore[arg-type]
    assert [e for _, e in stream.sinks["video"].ends] == [error]


def test_a_stream_that_is_closed_before_its_beginning_has_no_end():
    stream = Stream(FILM, begun=False)
    stream.live.end(None)
    stream.live.close()
    stream.live.begin(stream.sinks)  # type: ignore[arg-type]
    assert not stream.sinks["video"].ends


def test_a_stream_that_was_closed_gives_nothing_more():
    stream = Stream(SOUND, FILM)
    stream.live.video(0, b"0")
    stream.live.close()
    stream.live.video(MS, b"1")
    stream.live.audio(MS, samples(8))
    stream.live.end(None)
    assert len(stream.sinks["video"].pictures) == 1 and not stream.sinks["audio"].sounds
    assert not any(sink.ends for sink in stream.sinks.values())


# --- packets that are recorded as they come -------------------------------------------------------

COPIED = TrackInfo("video", "", PacketFormat({"codec": "h264", "frame_rate": 25.0}))
COPIED_SOUND = TrackInfo("audio", "", PacketFormat({"codec": "opus"}))


def packet(number: int, interval_ns: int = INTERVAL_NS, begin_ns: int = 0) -> Packet:
    return Packet(begin_ns + number * interval_ns, bytes([number]), number == 0, interval_ns)


def captured(sink: KeepingSink) -> list[int]:
    return [one.captured_ns - BEGIN_NS for one in sink.packets]


def test_packets_of_a_file_go_together_and_a_flush_gives_what_is_due():
    play = Play(COPIED)
    for number in range(7):
        play.playout.packet("video", packet(number))  # up to 240 ms ahead there is room
    play.at(0)
    assert captured(play.sinks["video"]) == [0]
    play.at(99 * MS)
    assert captured(play.sinks["video"]) == [0]
    play.at(100 * MS)
    assert captured(play.sinks["video"]) == [0, 40 * MS, 80 * MS]
    play.clock.ns += 45 * MS
    play.playout.flush(play.clock.ns)
    assert captured(play.sinks["video"]) == [0, 40 * MS, 80 * MS, 120 * MS]
    reader = thread_of(play.playout.packet, "video", packet(11))
    assert play.clock.until(reader) == BEGIN_NS + 440 * MS - PLAYOUT_AHEAD_NS + PACKET_MESSAGES_NS
    ended(thread_of(play.playout.close))
    ended(reader)


def test_a_recording_waits_for_the_first_packet_of_a_file_that_was_opened_just_now():
    play = Play(COPIED)
    waiting = thread_of(play.playout.catch_up)
    assert play.clock.until(waiting) == BEGIN_NS + CATCH_UP_NS_MAX
    play.playout.packet("video", packet(0))
    ended(waiting)
    assert captured(play.sinks["video"]) == [0]
    play.playout.catch_up()  # at once
    ended(thread_of(play.playout.close))


@pytest.mark.parametrize("begun", [True, False])
def test_what_had_piled_up_of_a_stream_is_timed_by_its_end_and_all_of_it_goes_on(begun):
    stream = Stream(COPIED, COPIED_SOUND, begun=begun, piled_up=True)
    for number in range(50):  # 2 s of media, read at once
        stream.live.packet("video", packet(number, begin_ns=77 * S))
        for half in range(2):
            stream.live.packet("audio", packet(2 * number + half, INTERVAL_NS // 2, begin_ns=77 * S))
    assert not stream.sinks["video"].packets
    if not begun:
        stream.clock.move(BEGIN_NS + 5 * MS)
        stream.live.begin(stream.sinks)
    waiting = thread_of(stream.live.catch_up)
    assert stream.clock.until(waiting) == BEGIN_NS + CATCH_UP_NS
    stream.clock.move(BEGIN_NS + CATCH_UP_NS)
    ended(waiting)
    pictures, sound = captured(stream.sinks["video"]), captured(stream.sinks["audio"])
    assert [b - a for a, b in zip(pictures, pictures[1:], strict=False)] == [INTERVAL_NS] * 49
    assert len(sound) == 100 and sound[0] == pictures[0]
    assert -INTERVAL_NS <= pictures[-1] <= 0 and sound[-1] <= 0  # nothing is from the future
    stream.clock.move(BEGIN_NS + INTERVAL_NS)
    stream.live.packet("video", packet(50, begin_ns=77 * S))
    assert captured(stream.sinks["video"])[-1] == pictures[-1] + INTERVAL_NS


def test_a_stream_that_is_caught_up_with_goes_on_packet_by_packet_and_a_jump_is_counted():
    stream = Stream(COPIED, piled_up=True)
    stream.live.packet("video", packet(0))
    stream.clock.move(BEGIN_NS + INTERVAL_NS)
    stream.live.packet("video", packet(1))  # which shows that nothing had piled up
    assert captured(stream.sinks["video"]) == [0, INTERVAL_NS]
    stream.clock.move(BEGIN_NS + 3 * S)
    stream.live.jumped("video")
    stream.live.packet("video", packet(2))  # its counter began anew: it was captured when it came
    assert captured(stream.sinks["video"])[-1] == 3 * S
    assert stream.sinks["video"].counts == {"jump": 1}
    stream.live.end(None)
    stream.clock.move(BEGIN_NS + 4 * S)
    stream.live.packet("video", packet(3))
    assert len(stream.sinks["video"].packets) == 3 and stream.sinks["video"].ends


def test_packets_that_are_kept_move_with_a_clock_that_was_late():
    """Else the pictures with which a recording begins would stand closer together than they were."""
    stream = Stream(COPIED, COPIED_SOUND, recorded=False)
    for number in range(2):
        stream.live.packet("video", packet(number))
        stream.live.packet("audio", packet(number))
        stream.clock.ns += INTERVAL_NS
    stream.clock.ns -= 13 * MS  # what came before was late
    stream.live.packet("video", packet(2))
    stream.live.packet("audio", packet(2))
    expected = [number * INTERVAL_NS - INTERVAL_NS - 13 * MS for number in range(3)]  # sound comes at its end
    assert captured(stream.sinks["video"]) == captured(stream.sinks["audio"]) == expected
