"""What users of recorders complain about most, one test each, in the order of how often they do.

The ten are those that come back over the years in the public threads about ``MediaRecorder`` and its wrappers. One
recording of ten minutes serves three of them; its frames are pushed with capture times of their own, so it takes
some seconds.
"""

import os
import threading
import time
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import ebml
import numpy as np
import pytest
from fixtures_media import wait_until
from listening import ALL_IN_ORDER, record_events, types_of
from media import (
    DEADLINE_S,
    S,
    assert_accounted,
    assert_times,
    complaints,
    counter_picture,
    decode,
    decoded_after_seek,
    finished,
    opened,
    tone,
)
from services import worker_of
from traces import SPOOL

import recsvc
from recsvc.errors import InvalidModificationError, InvalidStateError

WIDTH, HEIGHT = 64, 48
MINUTES = 10
RATE = 8_000
PICTURES_PER_SECOND = 2
# The sound's clock is off by so much, more than real devices are: 180 ms in these ten minutes.
DRIFT = 300e-6
SYNC_S = 0.010
RSS_GROWTH_MAX = 4_000_000
PAGE = os.sysconf("SC_PAGE_SIZE")


def picture(number: int) -> np.ndarray:
    return counter_picture(number, WIDTH, HEIGHT)


def pushed(kinds: str = "av", **options: object) -> tuple[list, recsvc.MediaRecorder]:
    """Sources of pictures and sound and their recorder."""
    sources: list = []
    if "v" in kinds:
        sources.append(recsvc.VideoSource(WIDTH, HEIGHT, when_full="wait"))
    if "a" in kinds:
        sources.append(recsvc.AudioSource(RATE, 1, when_full="wait"))
    stream = recsvc.MediaStream([source.track for source in sources])
    return sources, recsvc.MediaRecorder(stream, **options)


def play(video, audio, seconds: float, *, base_ns: int | None = None, rate: int = 25) -> None:
    """Counting pictures and a tone, in blocks of the length of a picture."""
    base_ns = time.monotonic_ns() if base_ns is None else base_ns
    block = tone(RATE // rate, RATE)
    for n in range(round(seconds * rate)):
        at_ns = base_ns + n * S // rate
        if video is not None:
            assert video.write(picture(n), at_ns)
        if audio is not None:
            assert audio.write(block, at_ns)


# --- a long recording -----------------------------------------------------------------------------


@dataclass
class Long:
    """A file of ten minutes with a flash and a beep at each minute, and the worker's memory behind each."""

    path: Path
    duration_s: float
    rss: list[int]


def rss_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE


@pytest.fixture(scope="module")
def long_recording(tmp_path_factory: pytest.TempPathFactory) -> Long:
    (video, audio), recorder = pushed(video_bits_per_second=100_000, audio_bits_per_second=64_000)
    dark, bright = (np.full(WIDTH * HEIGHT * 3 // 2, 128, np.uint8) for _ in range(2))
    dark[: WIDTH * HEIGHT], bright[: WIDTH * HEIGHT] = 16, 235
    rss = []
    recorder.start()
    [path] = SPOOL.iterdir()
    worker = worker_of(path)
    base_ns = time.monotonic_ns()
    for second in range(MINUTES * 60):
        beats = second % 60 == 30
        for n in range(PICTURES_PER_SECOND):
            at_ns = base_ns + second * S + n * S // PICTURES_PER_SECOND
            assert video.write(bright if beats and n == 1 else dark, at_ns)
        # The source has counted so many seconds of samples, but by its clock each lasts a little longer.
        at_s = second * (1 + DRIFT)
        block = np.zeros((RATE, 1), np.int16)
        if beats:  # where the flash is, in this source's samples
            at = round((second + 1 / PICTURES_PER_SECOND - at_s) * RATE)
            block[at : at + RATE // 10] = tone(RATE // 10, RATE, frequency=1000)
        assert audio.write(block, base_ns + round(at_s * S))
        if second % 60 == 59:
            rss.append(rss_of(worker))
    blob = finished(recorder)
    assert_accounted(recorder.statistics(), decode(blob))
    saved = blob.save(tmp_path_factory.mktemp("long") / "long.webm")
    return Long(saved, blob.duration, rss)


def test_duration_is_known_and_seeking_works(long_recording: Long) -> None:
    file = ebml.read(long_recording.path.read_bytes())
    assert file.segment_size_known and "Cues" in file.seek_head
    assert file.duration_ms is not None and file.duration_ms / 1000 == pytest.approx(
        long_recording.duration_s, abs=0.002
    )
    assert MINUTES * 60 - 0.5 <= long_recording.duration_s <= MINUTES * 60 + 0.5
    keys = [block.ms for block in file.of(1) if block.is_key_frame]
    assert [cue.ms for cue in file.cues] == keys
    assert len(keys) >= MINUTES * 60 / 10 - 1 and max(b - a for a, b in pairwise(keys)) <= 10_000
    for at_s in (0, 166.6, 300, 555.5, MINUTES * 60 - 1):
        found = decoded_after_seek(long_recording.path, at_s)
        assert found.is_key_frame and at_s - 10 <= found.at_s <= at_s
    assert complaints(long_recording.path) == []


def test_timeslice_pieces_play_when_joined() -> None:
    (video, audio), recorder = pushed(video_key_frame_interval_count=0)
    events = record_events(recorder)
    recorder.start(300)
    play(video, audio, 3)
    finished(recorder)
    pieces = [event.data for event in events if isinstance(event, recsvc.BlobEvent)]
    assert len(pieces) >= 4
    counters: list[int | None] = []
    for count in range(1, len(pieces) + 1):  # at any time, what has come so far plays
        grown = decode(recsvc.Blob(pieces[:count])).counters
        assert grown[: len(counters)] == counters and len(grown) > len(counters)
        counters = grown
    assert counters == list(range(75))
    # Later ones have no header of their own; with that of the first one each plays without those between.
    header = pieces[0].slice(0, ebml.read(pieces[0].bytes()).header_end)
    alone = [decode(recsvc.Blob([header, piece])).counters for piece in pieces[1:]]
    assert [number for some in alone for number in some] == counters[len(decode(pieces[0]).counters) :]


def test_memory_stays_flat_over_a_long_recording(long_recording: Long) -> None:
    rss = long_recording.rss
    assert len(rss) == MINUTES
    once = max(later - earlier for earlier, later in pairwise(rss))  # what is made once, whenever that is
    assert max(rss[1:]) - rss[0] - max(0, once) < RSS_GROWTH_MAX, rss


def test_sound_and_picture_stay_in_sync(long_recording: Long) -> None:
    """The flash and the beep of every minute, although the sound's clock drifts."""
    flashes, beeps = [], []
    with opened(long_recording.path) as container:
        for frame in container.decode():
            if hasattr(frame, "width"):
                if np.frombuffer(frame.planes[0], np.uint8).mean() > 100:
                    flashes.append(float(frame.time))
            else:
                loud = np.flatnonzero(np.abs(frame.to_ndarray()) > 0.1)
                at_s = float(frame.time) + int(loud[0]) / 48_000 if len(loud) else None
                if at_s is not None and (not beeps or at_s > beeps[-1] + 1):
                    beeps.append(at_s)
    assert len(flashes) == len(beeps) == MINUTES
    off_s = [beep - flash for beep, flash in zip(beeps, flashes, strict=True)]
    assert max(map(abs, off_s)) <= SYNC_S, off_s


# --- the end --------------------------------------------------------------------------------------


def test_stop_loses_nothing_even_when_all_is_released_at_once(tmp_path: Path) -> None:
    """The last frame before stop() is in the file, the Blob is complete when its event comes, and ``stop`` is last."""
    for turn in range(5):
        (video, audio), recorder = pushed()
        events = record_events(recorder)
        path = tmp_path / f"{turn}.webm"
        recorder.ondataavailable = lambda event, to=path: event.data.save(to)
        recorder.start()
        play(video, audio, 0.4 + 0.04 * turn)
        recorder.stop()
        video.end()
        audio.end()
        recorder.stream.close()
        recorder.wait("stop", DEADLINE_S)
        assert types_of(events) == ALL_IN_ORDER
        decoded = decode(path)
        assert decoded.counters == list(range(10 + turn))
        assert len(decoded.samples) == (10 + turn) * 48_000 // 25


def test_no_frame_is_dropped_when_finishing_late_was_asked_for() -> None:
    """A burst far beyond what may usually be under way, into the slower codec, from a source that does not wait."""
    source = recsvc.VideoSource(320, 240)
    recorder = recsvc.MediaRecorder(
        recsvc.MediaStream([source.track]), mime_type="video/webm;codecs=vp9", overload="finish-late"
    )
    base_ns = time.monotonic_ns()
    recorder.start()
    assert all(source.write(counter_picture(n, 320, 240), base_ns + n * S // 30) for n in range(120))
    decoded = decode(finished(recorder))
    assert decoded.counters == list(range(120))
    assert_times(np.diff(decoded.times), [1 / 30] * 119)
    assert_accounted(recorder.statistics(), decoded)


def test_pieces_have_the_length_asked_for() -> None:
    """Ten seconds in pieces of a tenth: none is shorter, none much longer, also while the source is muted; and
    behind a source that was away for long comes no huge one."""
    (video, audio), recorder = pushed()
    events = record_events(recorder)
    recorder.start(100)
    base_ns = time.monotonic_ns()
    play(video, audio, 4, base_ns=base_ns)
    video.muted = audio.muted = True
    play(video, audio, 4, base_ns=base_ns + 4 * S)
    video.muted = audio.muted = False
    play(video, audio, 2, base_ns=base_ns + 8 * S)
    play(video, audio, 0.4, base_ns=base_ns + 70 * S)  # a minute of nothing
    finished(recorder)
    pieces = [event.data for event in events if isinstance(event, recsvc.BlobEvent)]
    at_s, before_gap = 0.0, []
    for piece in pieces[:-1]:
        assert piece.duration >= 0.1
        at_s += piece.duration
        before_gap += [piece.duration] if at_s <= 10 else []
    assert max(before_gap) <= 0.6 and sum(before_gap) > 9
    assert max(piece.size for piece in pieces) < 500_000


def test_stop_is_never_confused() -> None:
    """A second click between the call and the events, a click too many, and one that nobody minds."""
    for strict in (True, False):
        (audio,), recorder = pushed("a", strict_stop=strict)
        events = record_events(recorder)
        recorder.start()
        play(None, audio, 0.2)
        recorder.stop()
        for _ in range(3):
            assert recorder.state == "inactive"
            if strict:
                with pytest.raises(InvalidStateError, match="inactive"):
                    recorder.stop()
            else:
                recorder.stop()
        recorder.wait("stop", DEADLINE_S)
        assert types_of(events) == ALL_IN_ORDER
        assert len(decode(recorder.recording).samples) == 9600


@pytest.mark.parametrize("source", ["one picture", "96 kHz", "20 ms", "nothing"])
def test_data_always_comes(source: str) -> None:
    video = recsvc.VideoSource(WIDTH, HEIGHT)
    audio = recsvc.AudioSource(96_000 if source == "96 kHz" else 48_000, 1, "f32", when_full="wait")
    track = (video if source == "one picture" else audio).track
    recorder = recsvc.MediaRecorder(recsvc.MediaStream([track]))
    events = record_events(recorder)
    recorder.start(100)
    if source == "one picture":
        assert video.write(picture(5))
        time.sleep(0.3)
    elif source == "96 kHz":
        base_ns = time.monotonic_ns()
        for n in range(50):
            assert audio.write(tone(1920, 96_000, dtype="float32"), base_ns + n * S // 50)
    elif source == "20 ms":
        assert audio.write(tone(960, dtype="float32"))
    recorder.stop()
    recorder.wait("stop", DEADLINE_S)
    assert types_of(events)[0] == "start" and types_of(events)[-2:] == ["dataavailable", "stop"]
    assert "error" not in types_of(events)
    if source != "nothing":
        joined = decode(recsvc.Blob([event.data for event in events if isinstance(event, recsvc.BlobEvent)]))
        assert joined.counters == ([5] if source == "one picture" else [])
        assert len(joined.samples) == {"one picture": 0, "96 kHz": 48_000, "20 ms": 960}[source]


def test_a_changed_stream_costs_nothing_and_the_next_recording_has_it() -> None:
    """By the specification a recording ends when its tracks change: it ends with all its data, and the listener
    may begin the next one, with the new tracks, at once."""
    (video, audio), recorder = pushed()
    new = recsvc.AudioSource(RATE, 2, when_full="wait")
    changed, again = threading.Event(), threading.Event()

    def on_stop(event: recsvc.Event) -> None:
        if not again.is_set():
            changed.wait(DEADLINE_S)  # the second change is none of the next recording's
            recorder.start()
            again.set()

    recorder.onstop = on_stop
    events = record_events(recorder)
    recorder.start()
    play(video, audio, 0.4)
    recorder.stream.remove_track(audio.track)
    recorder.stream.add_track(new.track)
    changed.set()
    wait_until(again.is_set, "the next recording", DEADLINE_S)
    assert new.write(tone(RATE, RATE, 2)) and video.write(picture(100))
    recorder.stop()
    wait_until(lambda: types_of(events).count("stop") == 2, "the second stop", DEADLINE_S)
    second = decode(recorder.recording)
    assert types_of(events) == ["start", "error", "dataavailable", "stop", "start", "dataavailable", "stop"]
    errors = [event.error for event in events if isinstance(event, recsvc.ErrorEvent)]
    assert [type(error) for error in errors] == [InvalidModificationError]
    [first, _] = [decode(event.data) for event in events if isinstance(event, recsvc.BlobEvent)]
    assert first.counters == list(range(10)) and len(first.samples) == 19_200
    assert second.counters == [100] and second.samples.shape == (48_000, 2)
