"""Disks that are full or broken: what the report and the Blob say is what the file holds, and the file is finished."""

from __future__ import annotations

import contextlib
import errno
import os
import random
import resource
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ebml
import media
import numpy as np
import pytest
from listening import record_events, types_of
from test_mux import PRE_SKIP, Call, audio_calls, merged, muxer_for, ogg_pages, video_calls
from worker_bench import RATE, Bench, S, accounted

import recsvc
from recsvc import errors
from recsvc.caller import connections
from recsvc.mux import spool
from recsvc.mux.muxer import Muxer

pytest_plugins = ["worker_bench"]
SEED = int(os.environ.get("RECSVC_TEST_SEED", random.SystemRandom().randrange(2**32)))


@contextlib.contextmanager
def largest_file(size: int) -> Iterator[None]:
    """The system refuses bytes behind ``size``, as a full disk does; room that is cut off can be used again."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


class BrokenDisk:
    """``os`` for the spool file: byte number ``at`` of all that is written cannot be, nor any later one; where
    ``recovers``, only the one call fails."""

    def __init__(self, at: int, *, recovers: bool) -> None:
        self._left = at
        self._recovers = recovers

    def __getattr__(self, name: str) -> Any:
        return getattr(os, name)

    def _take(self, size: int) -> int:
        """How many of these bytes go."""
        if self._left < 0:
            self._fail()
        taken = min(size, self._left)
        if taken < size and not taken:
            self._left = 10**12 if self._recovers else -1
            self._fail()
        self._left -= taken
        return taken

    def _fail(self) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    def write(self, descriptor: int, data: memoryview) -> int:
        return os.write(descriptor, data[: self._take(len(data))])

    def pwrite(self, descriptor: int, data: bytes, at: int) -> int:
        """Some bytes at once, within a sector: all of them or none."""
        if self._left < len(data):
            self._left = 10**12 if self._recovers else -1
            self._fail()
        self._left -= len(data)
        return os.pwrite(descriptor, data, at)

    def ftruncate(self, descriptor: int, size: int) -> None:
        if self._left < 0:
            self._fail()
        os.ftruncate(descriptor, size)


def calls_for(tracks: str) -> list[Call]:
    if tracks == "audio":
        return audio_calls(3 * RATE)
    video = video_calls(90)
    return video if tracks == "video" else merged(video, audio_calls(3 * RATE))


def try_to_record(path: Path, container: str, calls: list[Call], least: int = 0) -> Muxer | None:
    """The muxer, closed; ``None``: not even the header was written."""
    try:
        muxer = muxer_for(path, container, calls)
    except errors.RecorderError:
        return None
    with contextlib.suppress(errors.RecorderError):
        for call in calls:
            call.write(muxer)
    with contextlib.suppress(errors.RecorderError):
        muxer.finish(None, least)
    return muxer


def holds_what_it_says(muxer: Muxer, path: Path, *, finished: bool) -> None:
    data = path.read_bytes()[: muxer.bytes_written]
    assert len(data) == muxer.bytes_written
    written = muxer.written
    if data[:4] == b"OggS":
        pages = ogg_pages(data)
        assert written.samples == max(granule for _, granule, _ in pages)
        assert not finished or pages[-1][0] & 4
        return
    file = ebml.read(data)
    assert file.complete_end == len(data)
    assert len(file.of(1)) == written.pictures
    padding = sum(round(block.discard_padding_ns * 48 / 10**6) for block in file.of(2))
    assert len(file.of(2)) * 960 - padding == written.samples
    ends = [(block.ms + 33.3) for block in file.of(1)] + [
        block.ms + 20 - PRE_SKIP / 48 - block.discard_padding_ns / 10**6 for block in file.of(2)
    ]
    assert written.end_ns / 10**6 == pytest.approx(max(ends, default=0), abs=1.1)
    if finished:
        assert file.segment_size_known
        assert len(data) == path.stat().st_size
        assert file.duration_ms == pytest.approx(written.end_ns / 10**6)
        keys = [block for block in file.of(1) if block.is_key_frame]
        assert [cue.ms for cue in file.cues if cue.track == 1] == [block.ms for block in keys]


def boundaries(path: Path, container: str, rng: random.Random) -> list[int]:
    """Sizes at which a disk may end for a file like this: in its header, its clusters or pages, its Cues."""
    data = path.read_bytes()
    if container == "ogg":
        begins = [at for at in range(len(data)) if data.startswith(b"OggS", at)]
    else:
        file = ebml.read(data)
        begins = [file.header_end, *(at for places in file.level_1.values() for at in places)]
    sizes = {begin + off for begin in begins for off in (-1, 0, 1, 5)} | {len(data) - 1, len(data) - 20}
    return sorted(size for size in sizes | set(rng.sample(range(len(data)), 15)) if 0 < size < len(data))


CONTAINERS = [("webm", "video"), ("webm", "audio"), ("webm", "both"), ("ogg", "audio")]


@pytest.mark.parametrize(("container", "tracks"), CONTAINERS)
def test_a_disk_that_is_full_at_any_byte(container: str, tracks: str, tmp_path: Path) -> None:
    print(f"RECSVC_TEST_SEED={SEED}")
    calls, path = calls_for(tracks), tmp_path / "a"
    whole = try_to_record(path, container, calls)
    assert whole is not None and not whole.failed
    holds_what_it_says(whole, path, finished=True)
    places = ebml.read(path.read_bytes()).level_1["Cluster"] if container != "ogg" else [0, 0, 0]
    for size in boundaries(path, container, random.Random(SEED)):
        with largest_file(size):
            muxer = try_to_record(path, container, calls)
        if muxer is None:
            assert size < whole.media_at
            continue
        assert muxer.failed
        # With less than two clusters there is none to give for the Cues.
        holds_what_it_says(
            muxer, path, finished=size >= places[2] and muxer.written.samples + muxer.written.pictures > 0
        )
        lost = whole.written.end_ns - muxer.written.end_ns
        assert container == "ogg" or lost < 2.5 * S or size < 0.7 * whole.bytes_written


@pytest.mark.parametrize("recovers", [True, False], ids=["once", "for ever"])
@pytest.mark.parametrize(("container", "tracks"), CONTAINERS)
def test_a_disk_that_breaks_at_any_byte(
    container: str, tracks: str, recovers: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    print(f"RECSVC_TEST_SEED={SEED}")
    calls, path = calls_for(tracks), tmp_path / "a"
    whole = try_to_record(path, container, calls)
    assert whole is not None
    patched = 0 if container == "ogg" else 60  # bytes written a second time, at the end
    places = boundaries(path, container, random.Random(SEED))
    for at in [*places, *range(whole.bytes_written, whole.bytes_written + patched, 5)]:
        monkeypatch.setattr(spool, "os", BrokenDisk(at, recovers=recovers))
        muxer = try_to_record(path, container, calls)
        if muxer is None:
            assert at < whole.media_at
        elif at < whole.bytes_written or muxer.failed:
            assert muxer.failed
            holds_what_it_says(muxer, path, finished=recovers)


@pytest.mark.parametrize(("container", "tracks"), CONTAINERS)
def test_what_was_handed_out_is_not_cut(container: str, tracks: str, tmp_path: Path) -> None:
    calls, path = calls_for(tracks), tmp_path / "a"
    whole = try_to_record(path, container, calls)
    assert whole is not None
    with largest_file(whole.written.size):  # no byte for the Cues
        muxer = try_to_record(path, container, calls, least=whole.written.size)
    assert muxer is not None
    assert muxer.written == whole.written
    holds_what_it_says(muxer, path, finished=container == "ogg")


# --- recordings -----------------------------------------------------------------------------------


def spool_of(report: Any) -> recsvc.Blob:
    return recsvc.Blob([Path(report.whole.path).read_bytes()[: report.whole.end]])


@pytest.mark.parametrize("kinds", ["audio", "video", "audio video"])
def test_the_report_of_a_full_disk_counts_what_the_file_holds(kinds: str, bench: Bench) -> None:
    bench.open("a", *kinds.split())
    now_ns = time.monotonic_ns()
    rng = np.random.default_rng(SEED)
    with largest_file(40_000):  # some clusters, not all
        for number in range(150):
            at_ns = now_ns + number * S // 30
            if "video" in kinds:
                bench.picture("a", at_ns)
            if "audio" in kinds:
                bench.sound("a", at_ns, RATE // 30, rng.integers(-9000, 9000, RATE // 30, np.int16).tobytes())
        bench.work()
        bench.ask_for_data("a", 1)  # so that packets do not wait for others
        for kind in kinds.split():
            bench.mark(f"a/{kind}", 1)
        bench.work()
    report = bench.finished("a")
    assert report.error == "QuotaExceededError" and "File too large" in report.text
    decoded = media.decode(spool_of(report))
    for track in report.statistics.tracks:
        accepted, encoded, dropped = accounted(track)
        assert dropped == sum(track.dropped_by_cause.values()) > 0
        assert track.dropped_by_cause["not_written"] > 0
        assert encoded == (len(decoded.pictures) if track.kind == "video" else len(decoded.samples))
        assert accepted == (150 if track.kind == "video" else 150 * (RATE // 30))
    assert decoded.duration_s == pytest.approx(report.statistics.duration, abs=0.0011)
    assert report.blob.duration == report.statistics.duration == report.whole.duration
    length_s = max([decoded.sound_s, *(picture.at_s + 1 / 30 for picture in decoded.pictures)])
    assert report.statistics.duration == pytest.approx(length_s, abs=0.03)
    assert report.statistics.size_bytes == report.whole.end == Path(report.whole.path).stat().st_size


@contextlib.contextmanager
def small_disk(kind: str, directory: Path, size: int) -> Iterator[None]:
    """Roles started inside have no more room than this."""
    if kind == "file size limit":
        with largest_file(size):
            recsvc.enumerate_devices()
            connections.connect()  # its controller and workers inherit the limit
        yield
        return
    mount = shutil.which("mount")
    made = mount is not None and subprocess.run(
        [mount, "-t", "tmpfs", "-o", f"size={size}", "none", str(directory)], capture_output=True
    )
    if not made or made.returncode:
        pytest.skip("no file system may be mounted here")
    try:
        yield
    finally:
        connections.close_all()
        subprocess.run(["umount", "-l", str(directory)], check=True)


@pytest.mark.parametrize("kind", ["file size limit", "file system"])
def test_a_full_disk_is_told_and_what_is_in_the_file_is_what_is_said(
    kind: str, tmp_path: Path, own_controller: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RECSVC_SPOOL", str(tmp_path))
    with small_disk(kind, tmp_path, 600 * 1024):
        source = recsvc.VideoSource(160, 120, when_full="wait")
        recorder = recsvc.MediaRecorder(recsvc.MediaStream([source.track]), video_bits_per_second=4_000_000)
        events = record_events(recorder)
        recorder.start()
        rng, begin_ns, written = np.random.default_rng(SEED), time.monotonic_ns(), 0
        while recorder.state != "inactive" and written < 3000:
            picture = rng.integers(0, 255, 160 * 120 * 3 // 2, np.uint8)
            written += source.write(picture.tobytes(), begin_ns + written * S // 30)
        recorder.wait("stop", media.DEADLINE_S)
        _, error, data, _ = events
        assert types_of(events) == ["start", "error", "dataavailable", "stop"]
        assert isinstance(error, recsvc.ErrorEvent) and isinstance(error.error, errors.QuotaExceededError)
        assert isinstance(data, recsvc.BlobEvent)
        decoded = media.decode(data.data)
        statistics = recorder.statistics()
        media.assert_accounted(statistics, decoded, dropped=None)
        [track] = statistics.tracks
        assert track.dropped_by_cause["not_written"] > 0 and track.frames_encoded > 5
        assert data.data.duration == statistics.duration == pytest.approx(decoded.duration_s, abs=0.0011)
        assert data.data.duration == pytest.approx(track.frames_encoded / 30, abs=0.01)
        file = ebml.read(data.data.bytes())
        assert file.segment_size_known and len(file.cues) == sum(p.is_key_frame for p in decoded.pictures)
        assert data.data.size == statistics.size_bytes <= 600 * 1024
        del data, events, error
        recorder.close()
        del recorder
