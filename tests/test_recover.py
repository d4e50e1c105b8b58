"""Recovery: whatever a kill leaves of a recording becomes a finished file, up to the last complete cluster or page.

The files are the muxer's own, cut; what comes out is read with ``ebml.py``, PyAV, ffprobe and mkvtoolnix.
"""

from __future__ import annotations

import asyncio
import errno
import functools
import gc
import io
import itertools
import json
import os
import random
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import av
import ebml
import pytest
from media import complaints
from test_mux import Call, audio_calls, merged, muxer_for, ogg_pages, video_calls
from typer.testing import CliRunner

import recsvc
from recsvc import aio, errors
from recsvc.cli.commands import app
from recsvc.common.descriptions import BlobDescription, CompletedFile
from recsvc.common.pieces import HandedOut
from recsvc.mux import recover as recovering
from recsvc.mux import repair
from recsvc.mux.left_behind import left_behind
from recsvc.mux.packets import VideoPacket
from recsvc.mux.recover import complete

SUFFIXES = {"webm": ".webm", "matroska": ".mkv", "ogg": ".ogg"}
KINDS = [("webm", "both"), ("webm", "video"), ("webm", "audio"), ("matroska", "both"), ("ogg", "audio")]
DURATION_NS = 6_612_345_678
DELAY_MS = 6.5  # of the Opus encoder: 312 samples
TICK_MS = 1.0


class Original(NamedTuple):
    """A finished recording, and what its file was before ``finish()``; ``ends``: of its clusters or pages."""

    finished: bytes
    unfinished: bytes
    header_size: int
    ends: list[int]


@functools.cache
def original(container: str, tracks: str) -> Original:
    """6.6 s of pictures with a key frame each second, or sound, or both."""
    calls: list[Call] = merged(
        video_calls(198) if tracks != "audio" else [], audio_calls(316_800 + 100) if tracks != "video" else []
    )
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "a"
        muxer = muxer_for(path, container, calls)
        for call in calls:
            call.write(muxer)
        before = path.read_bytes()
        muxer.finish(DURATION_NS)
        after = path.read_bytes()
    if container == "ogg":
        ends = [at for at in range(len(after) + 1) if after[at : at + 5] == b"OggS\0"][1:] + [len(after)]
        assert len(ogg_pages(after)) == len(ends)
        unfinished = bytearray(after)
        last = ends[-2]
        unfinished[last:] = b""
        return Original(after, bytes(unfinished), ends[1], ends[2:])
    file = ebml.read(after)
    ends = [*file.level_1["Cluster"][1:], file.level_1["Cues"][0]]
    return Original(after, before[: len(muxer.header)] + after[len(muxer.header) :], len(muxer.header), ends)


@pytest.fixture
def rng() -> random.Random:
    seed = int(os.environ.get("RECSVC_TEST_SEED", random.SystemRandom().randrange(2**32)))
    print(f"RECSVC_TEST_SEED={seed}")
    return random.Random(seed)


@pytest.fixture(autouse=True)
def no_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a sync is for is tested by ``states_after_a_kill``."""
    monkeypatch.setattr(os, "fdatasync", lambda descriptor: None)


def packets(data: bytes) -> list[tuple[int, int | None, bytes, bool]]:
    with av.open(io.BytesIO(data)) as container:
        return [(p.stream_index, p.pts, bytes(p), p.is_keyframe) for p in container.demux() if p.size]


def interesting_cuts(whole: Original, rng: random.Random) -> list[int]:
    """At every edge of a cluster or page, around some of them and what stands behind the last, and at random."""
    edges = [whole.header_size, whole.ends[0], rng.choice(whole.ends[1:-1]), whole.ends[-1], len(whole.finished)]
    near = {edge + step for edge in edges for step in (-1, 0, 1, 4, 5, 30)} | set(whole.ends)
    some = {rng.randrange(whole.header_size, len(whole.finished)) for _ in range(5)}
    return sorted(cut for cut in near | some if whole.header_size <= cut <= len(whole.finished))


def expected_end_ms(file: ebml.File) -> float:
    """Where the last block ends: sound by its packet's length, pictures by what the last says, or by the distance of
    the last two."""
    sound, pictures = file.of(2), file.of(1)
    ends = [0.0]
    if sound:
        ends.append(sound[-1].ms + (sound[-1].duration_ms or 20) - DELAY_MS)
    if pictures:
        ends.append(pictures[-1].ms + (pictures[-1].duration_ms or 1000 / 30))
    return max(ends)


def check_matroska(path: Path, whole: Original, cut: int, done: recovering.Completed) -> None:
    data = path.read_bytes()
    file, reference = ebml.read(data), ebml.read(whole.finished)
    kept = [end for end in whole.ends if end <= cut]
    assert file.segment_size_known and done.size == len(data)
    assert data[whole.header_size : kept[-1] if kept else 0] == (
        whole.finished[whole.header_size : kept[-1]] if kept else b""
    ), "the media changed"
    assert len(file.blocks) == sum(len(blocks) for _, blocks in reference.clusters[: len(kept)])
    assert file.seek_head == {name: ats[0] for name, ats in file.level_1.items() if name not in ("SeekHead", "Cluster")}
    assert {len(ats) for name, ats in file.level_1.items() if name != "Cluster"} == {1}
    end = kept[-1] if kept else 0
    known = [(cue.ms, cue.track, cue.cluster_at, cue.block_at) for cue in reference.cues if cue.cluster_at < end]
    assert [(cue.ms, cue.track, cue.cluster_at, cue.block_at) for cue in file.cues] == known
    assert file.duration_ms == pytest.approx(expected_end_ms(file), abs=TICK_MS)
    assert done.duration == pytest.approx((file.duration_ms or 0) / 1000)


@pytest.mark.parametrize("header", ["of a killed worker", "of a finished file"])
@pytest.mark.parametrize(("container", "tracks"), KINDS[:-2])
def test_a_cut_matroska_file_is_complete_up_to_the_cut(
    container: str, tracks: str, header: str, tmp_path: Path, rng: random.Random
) -> None:
    whole = original(container, tracks)
    source = whole.unfinished if header == "of a killed worker" else whole.finished
    reference = packets(whole.finished)
    path = tmp_path / f"a{SUFFIXES[container]}"
    for cut in interesting_cuts(whole, rng):
        path.write_bytes(source[:cut])
        done = complete(path)
        if cut == len(source) and header == "of a finished file":
            assert not done.changed and path.read_bytes() == source
            continue
        assert done.changed, cut
        check_matroska(path, whole, cut, done)
        if whole.ends[0] <= cut:
            assert packets(path.read_bytes()) == reference[: len(ebml.read(path.read_bytes()).blocks)], cut
        data = path.read_bytes()
        assert not complete(path).changed and path.read_bytes() == data, "not the same a second time"


def test_a_cut_ogg_file_is_complete_up_to_the_cut(tmp_path: Path, rng: random.Random) -> None:
    whole = original("ogg", "audio")
    path = tmp_path / "a.ogg"
    for cut in interesting_cuts(whole, rng):
        path.write_bytes(whole.finished[:cut])
        done = complete(path)
        data = path.read_bytes()
        assert done.changed == (cut != len(whole.finished)) and done.size == len(data)
        kept = [end for end in whole.ends if end <= cut]
        pages = ogg_pages(data)
        assert len(pages) == 2 + max(len(kept), 1)
        assert [page[0] & 4 for page in pages] == [0] * (len(pages) - 1) + [4]
        assert done.duration == max(pages[-1][1] - 312, 0) / 48_000
        if kept:
            assert len(data) == kept[-1]
            assert packets(data) == packets(whole.finished)[: len(packets(data))]
        assert not complete(path).changed and path.read_bytes() == data, "not the same a second time"


@pytest.mark.parametrize(("container", "tracks"), KINDS)
def test_other_programs_find_nothing_wrong(container: str, tracks: str, tmp_path: Path, rng: random.Random) -> None:
    whole = original(container, tracks)
    path = tmp_path / f"a{SUFFIXES[container]}"
    for cut in (whole.ends[0], whole.ends[-2] + 7, rng.randrange(whole.ends[2], whole.ends[-1])):
        path.write_bytes(whole.unfinished[:cut])
        done = complete(path)
        assert complaints(path) == []
        with av.open(str(path)) as opened:
            # libavformat counts an Ogg file's pre-skip too.
            expected_us = done.duration * 1e6 + (DELAY_MS * 1000 if container == "ogg" else 0)
            assert opened.duration == pytest.approx(expected_us, abs=1000 * TICK_MS)
            counted = [sum(1 for _ in opened.decode(one)) for one in opened.streams if not opened.seek(0)]
            assert all(counted)
            stream = opened.streams[0]
            for second in range(int(done.duration)):
                opened.seek(int(second / stream.time_base), stream=stream)
                frame = next(opened.decode(stream))
                if tracks == "audio":
                    assert frame.time <= second + 0.020
                else:
                    assert frame.key_frame and frame.time == pytest.approx(second, abs=TICK_MS / 1000)


@pytest.mark.parametrize(("container", "tracks"), KINDS[:-1])
def test_a_kill_while_the_file_was_finished_changes_nothing(container: str, tracks: str, tmp_path: Path) -> None:
    """The muxer's last writes: Cues, the SeekHead's entry, Duration, Segment size."""
    whole = original(container, tracks)
    path = tmp_path / "a"
    all_but_the_size = bytearray(whole.finished)
    at = whole.finished.index(b"\x18\x53\x80\x67") + 4
    all_but_the_size[at : at + 8] = b"\x01" + b"\xff" * 7
    path.write_bytes(all_but_the_size)
    assert complete(path).changed
    assert path.read_bytes() == whole.finished
    without_duration = whole.unfinished  # the Cues are there, the header is as it was
    path.write_bytes(without_duration)
    complete(path)
    result, expected = ebml.read(path.read_bytes()), ebml.read(whole.finished)
    assert result.cues == expected.cues and result.seek_head == expected.seek_head
    assert len(path.read_bytes()) == len(whole.finished)


# --- killed in the middle ---------------------------------------------------------------------------------


class Recorded(repair.File):
    """Notes every change in its order."""

    log: list[tuple[str, int, bytes]] = []

    def write(self, at: int, data: bytes) -> None:
        self.log.append(("write", at, data))
        super().write(at, data)

    def cut(self, size: int) -> None:
        self.log.append(("cut", size, b""))
        super().cut(size)

    def sync(self) -> None:
        self.log.append(("sync", 0, b""))


def apply(data: bytes, changes: list[tuple[str, int, bytes]]) -> bytes:
    result = bytearray(data)
    for kind, at, written in changes:
        if kind == "write":
            result += bytes(max(at - len(result), 0))
            result[at : at + len(written)] = written
        elif kind == "cut":
            result[at:] = b""
    return bytes(result)


def states_after_a_kill(
    changes: list[tuple[str, int, bytes]], rng: random.Random
) -> list[list[tuple[str, int, bytes]]]:
    """What may have reached the disk: all up to some change, of which a part (but for the first 512 bytes, one sector);
    or, after a power failure, any of those behind the last sync, in any order."""
    states = []
    for count in range(len(changes) + 1):
        states.append(changes[:count])
        if count < len(changes) and changes[count][0] == "write" and changes[count][1] >= 512:
            kind, at, data = changes[count]
            states.append([*changes[:count], (kind, at, data[: rng.randrange(len(data))])])
    epochs = [list(group) for is_sync, group in itertools.groupby(changes, lambda c: c[0] == "sync") if not is_sync]
    for number, epoch in enumerate(epochs):
        before = [change for earlier in epochs[:number] for change in earlier]
        for size in range(len(epoch) + 1):
            states += [before + list(some) for some in itertools.combinations(epoch, size)]
    return states


@pytest.mark.parametrize("header", ["of a killed worker", "of a finished file"])
@pytest.mark.parametrize(("container", "tracks"), KINDS)
def test_killed_while_it_recovers_it_goes_on_the_next_time(
    container: str, tracks: str, header: str, tmp_path: Path, rng: random.Random, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = original(container, tracks)
    source = whole.unfinished if header == "of a killed worker" else whole.finished
    path = tmp_path / "a"
    cuts = (whole.header_size, whole.ends[-2] + 9, whole.ends[-1], len(source) - 1, len(source))
    for cut in (cut for cut in cuts if cut <= len(source)):
        torn = source[:cut]
        path.write_bytes(torn)
        Recorded.log = []
        with monkeypatch.context() as patched:
            patched.setattr(recovering, "File", Recorded)
            complete(path)
        expected = path.read_bytes()
        assert apply(torn, Recorded.log) == expected
        for state in states_after_a_kill(Recorded.log, rng):
            path.write_bytes(apply(torn, state))
            complete(path)
            assert path.read_bytes() == expected, (cut, state)


class SystemCalls:
    """``os`` for the file under repair: notes the calls that change it, in their order."""

    def __init__(self) -> None:
        self.made: list[tuple[str, int]] = []  # with where bytes are written

    def __getattr__(self, name: str) -> Any:
        return getattr(os, name)

    def pwrite(self, descriptor: int, data: Any, at: int) -> int:
        self.made.append(("write", at))
        return os.pwrite(descriptor, data, at)

    def ftruncate(self, descriptor: int, size: int) -> None:
        self.made.append(("cut", size))
        os.ftruncate(descriptor, size)

    def fdatasync(self, descriptor: int) -> None:
        self.made.append(("sync", 0))


@pytest.mark.parametrize(("container", "tracks"), KINDS)
def test_the_write_that_makes_a_file_finished_is_the_last_and_stands_between_two_syncs(
    container: str, tracks: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or a power failure could leave a file that says that it is complete, and whose end was never written."""
    whole = original(container, tracks)
    path = tmp_path / "a"
    for torn in (0, 7):
        path.write_bytes(whole.unfinished[: whole.ends[2] + torn])
        calls = SystemCalls()
        monkeypatch.setattr(repair, "os", calls)
        assert recovering.complete(path).changed
        kinds = [kind for kind, _ in calls.made]
        if container == "ogg":  # its one write changes a flag and a checksum, which a page may have half of
            assert kinds == ["cut"] * bool(torn) + ["write", "sync"]
            continue
        assert kinds[-3:] == ["sync", "write", "sync"]
        assert kinds.count("write") >= 3
        base = path.read_bytes().index(b"\x18\x53\x80\x67") + 12
        assert calls.made[-2] == ("write", base - 8), "the Segment's size"
        assert ("write", base - 8) not in calls.made[:-2]


# --- what it does not touch -------------------------------------------------------------------------------


def locked_up(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """Files cannot be opened for writing."""

    class Os(SystemCalls):
        def open(self, path: str, flags: int) -> int:
            if flags & os.O_RDWR:
                raise OSError(number, os.strerror(number))
            return os.open(path, flags)

    monkeypatch.setattr(recovering, "os", Os())


@pytest.mark.parametrize("number", [errno.EACCES, errno.EPERM, errno.EROFS])
def test_a_finished_file_that_may_not_be_written_is_read_and_an_unfinished_one_is_refused(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = original("webm", "both")
    locked_up(monkeypatch, number)
    (tmp_path / "finished").write_bytes(whole.finished)
    done = recovering.complete(tmp_path / "finished")
    assert (done.size, done.changed) == (len(whole.finished), False)
    (tmp_path / "unfinished").write_bytes(whole.unfinished)
    with pytest.raises(errors.NotReadableError, match="may not be written"):
        recovering.complete(tmp_path / "unfinished")
    assert (tmp_path / "unfinished").read_bytes() == whole.unfinished


def test_a_file_that_cannot_be_opened_for_another_reason_is_not_taken_for_read_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    locked_up(monkeypatch, errno.EMFILE)
    (tmp_path / "a").write_bytes(original("webm", "both").finished)
    with pytest.raises(errors.NotReadableError, match=os.strerror(errno.EMFILE)):
        recovering.complete(tmp_path / "a")


@pytest.mark.parametrize(("container", "tracks"), KINDS)
def test_a_finished_file_is_untouched_and_outlives_its_blob(container: str, tracks: str, tmp_path: Path) -> None:
    whole = original(container, tracks)
    path = tmp_path / "a"
    path.write_bytes(whole.finished)
    os.utime(path, ns=(1, 1))
    blob = recsvc.recover(path)
    assert blob.bytes() == whole.finished
    kinds = {"both": "vp8,opus", "video": "vp8", "audio": "opus"}[tracks]
    essence = {"webm": "video/webm", "matroska": "video/x-matroska", "ogg": "audio/ogg"}[container]
    assert blob.type == f"{'audio/webm' if tracks == 'audio' and container == 'webm' else essence};codecs={kinds}"
    expected_s = DURATION_NS / 1e9 if container != "ogg" else (316_800 + 100) / 48_000
    assert blob.duration == pytest.approx(expected_s, abs=1e-6)
    del blob
    gc.collect()
    assert path.read_bytes() == whole.finished and path.stat().st_mtime_ns == 1


def test_asyncio_has_it_too(tmp_path: Path) -> None:
    path = tmp_path / "a.webm"
    path.write_bytes(original("webm", "both").unfinished[:-300])
    assert asyncio.run(aio.recover(path)).bytes() == path.read_bytes()


def foreign_files() -> dict[str, bytes]:
    made = {}
    for format in ("webm", "ogg"):
        buffer = io.BytesIO()
        with av.open(buffer, "w", format=format) as container:
            stream = container.add_stream("libopus", 48_000)
            frame = av.AudioFrame("flt" if stream.format.name == "flt" else "s16", "stereo", 960)
            frame.sample_rate = 48_000
            for packet in [*stream.encode(frame), *stream.encode(None)]:
                container.mux(packet)
        made[f"{format} of another program"] = buffer.getvalue()
    whole, ogg = original("webm", "both"), original("ogg", "audio")
    made |= {f"header cut at {cut}": whole.unfinished[:cut] for cut in (0, 3, 4, 50, 100, whole.header_size - 1)}
    made |= {f"Ogg header cut at {cut}": ogg.finished[:cut] for cut in (4, 30, 60, ogg.header_size - 1)}
    made |= {"text": b"OggSomething else", "noise": random.Random(1).randbytes(5000)}
    return made


def test_what_is_none_of_ours_is_refused_and_stays_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "a"
    for what, data in foreign_files().items():
        path.write_bytes(data)
        with pytest.raises(errors.NotReadableError) as raised:
            recsvc.recover(path)
        assert str(path) in str(raised.value), what
        assert path.read_bytes() == data, what
    with pytest.raises(errors.NotReadableError):
        recsvc.recover(tmp_path)
    with pytest.raises(errors.NotFoundError):
        recsvc.recover(tmp_path / "missing")
    with pytest.raises(TypeError):
        recsvc.recover(5)  # type: ignore[arg-type]


def test_a_pipe_is_refused_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(errors.NotReadableError):
        recsvc.recover(tmp_path / "pipe")


@pytest.mark.parametrize(("container", "tracks"), KINDS)
def test_a_file_being_written_is_left_alone(container: str, tracks: str, tmp_path: Path) -> None:
    path = tmp_path / "a"
    calls = video_calls(60) if tracks == "video" else audio_calls(96_000)
    muxer = muxer_for(path, container, calls)
    for call in calls:
        call.write(muxer)
    before = path.read_bytes()
    with pytest.raises(errors.InvalidStateError, match="being written"):
        recsvc.recover(path)
    with pytest.raises(errors.UnknownError, match="another process"):
        muxer_for(path, container, calls)
    assert path.read_bytes() == before
    muxer.abort()
    assert recsvc.recover(path).duration > 1


@pytest.mark.parametrize(("container", "tracks"), KINDS)
def test_a_bad_spot_in_the_middle_costs_nothing_behind_it(container: str, tracks: str, tmp_path: Path) -> None:
    """What a kill tears is at the end. Elsewhere it is damage, and cutting there would lose the rest."""
    whole = original(container, tracks)
    path = tmp_path / "a"
    data = bytearray(whole.unfinished[: whole.ends[-2]])
    data[whole.ends[2] : whole.ends[2] + 16] = bytes(16)
    path.write_bytes(data)
    with pytest.raises(errors.NotReadableError, match=f"damaged at byte {whole.ends[2]}"):
        recsvc.recover(path)
    assert path.read_bytes() == data


@pytest.mark.parametrize(("container", "tracks"), KINDS)
def test_a_last_cluster_with_other_content_is_cut_off(container: str, tracks: str, tmp_path: Path) -> None:
    """After a power failure the size may be right and the bytes not."""
    whole = original(container, tracks)
    path = tmp_path / "a"
    begin, end = whole.ends[3], whole.ends[4]
    path.write_bytes(whole.unfinished[: begin + 40] + bytes(end - begin - 40))
    complete(path)
    reference = tmp_path / "b"
    reference.write_bytes(whole.unfinished[:begin])
    complete(reference)
    assert path.read_bytes() == reference.read_bytes()


def test_only_headers_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Counted(repair.File):
        count = 0

        def read(self, at: int, size: int) -> bytes:
            data = super().read(at, size)
            Counted.count += len(data)
            return data

    monkeypatch.setattr(recovering, "File", Counted)
    path = tmp_path / "a"
    muxer = muxer_for(path, "webm", video_calls(1))
    for number in range(3000):
        muxer.write(VideoPacket(bytes(5000), number * 33_333_333, 33_333_333, number % 100 == 0))
    muxer.abort()
    size = path.stat().st_size
    assert complete(path).duration == pytest.approx(99.6, abs=0.6)
    assert Counted.count < size // 20


@pytest.mark.parametrize("completed", [CompletedFile(size=5000, duration=2.5), None])
def test_what_is_left_behind_comes_after_the_pieces(tmp_path: Path, completed: CompletedFile | None) -> None:
    path = str(tmp_path / "a.webm")
    assert left_behind(path, "video/webm", HandedOut(), None).statistics.size_bytes == 0, "it is gone"
    Path(path).write_bytes(bytes(4000))
    pieces = HandedOut()
    pieces.add(BlobDescription(path=path, start=0, end=3000, duration=1.5), 0.0)
    left = left_behind(path, "video/webm", pieces, completed)
    size, duration = (completed.size, completed.duration) if completed else (4000, 1.5)
    assert (left.blob.start, left.blob.end, left.whole.end, left.timecode_ms) == (3000, size, size, 1500)
    assert (left.blob.duration, left.whole.duration) == (duration - 1.5, duration)
    assert (left.statistics.duration, left.statistics.size_bytes) == (duration, size)


# --- on the command line ----------------------------------------------------------------------------------


def command(*arguments: str | Path) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, ["recover", *map(str, arguments)])
    return result.exit_code, result.stdout, result.stderr


@pytest.fixture
def left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A spool with a recording of each state."""
    directory = tmp_path / "left"
    monkeypatch.setenv("RECSVC_SPOOL", str(directory))
    directory.mkdir()
    whole = original("webm", "both")
    files = {"1.webm": whole.finished, "2.webm": whole.unfinished[: whole.ends[-2]], "3.webm": b"", "notes.txt": b"?"}
    for number, (name, data) in enumerate(files.items()):
        (directory / name).write_bytes(data)
        os.utime(directory / name, (1e9 + number, 1e9 + number))
    return directory


def test_without_files_it_lists_and_completes_the_spool(left: Path) -> None:
    muxer = muxer_for(left / "4.ogg", "ogg", audio_calls(960))
    code, out, _ = command("--json")
    rows = json.loads(out)
    assert code == 0
    assert [(Path(row["path"]).name, row["state"]) for row in rows] == [
        ("1.webm", "finished"),
        ("2.webm", "recovered"),
        ("3.webm", "empty"),
        ("4.ogg", "recording"),
    ]
    assert (
        rows[0]["duration"] == pytest.approx(6.612, abs=0.001) and rows[0]["size"] == (left / "1.webm").stat().st_size
    )
    assert rows[0]["age"] > 1e8
    assert ebml.read((left / "2.webm").read_bytes()).segment_size_known
    muxer.abort()
    code, out, _ = command()
    assert code == 0 and str(left / "2.webm") in out and "6.6 s" in out
    (left / "5.mkv").write_bytes(b"nothing of ours")
    code, out, problem = command()
    assert code == 1 and "unreadable" in out and "5.mkv" in problem
    assert command("--json")[0] == 1


def test_an_empty_or_missing_spool_is_no_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECSVC_SPOOL", str(tmp_path / "none"))
    assert command("--json")[:2] == (0, "[]\n")
    assert command()[0] == 0


def test_named_files_are_completed_and_saved(left: Path, tmp_path: Path) -> None:
    code, out, _ = command("2.webm", "-o", tmp_path / "saved.webm", "--json")
    assert code == 0 and json.loads(out)[0]["path"] == str(tmp_path / "saved.webm")
    assert ebml.read((tmp_path / "saved.webm").read_bytes()).segment_size_known
    assert not (left / "2.webm").exists(), "moved out of the spool"
    elsewhere = tmp_path / "mine.webm"
    elsewhere.write_bytes(original("webm", "both").unfinished)
    assert command(elsewhere, "-o", tmp_path / "copy.webm")[0] == 0
    assert elsewhere.read_bytes() == (tmp_path / "copy.webm").read_bytes()
    assert command(left / "1.webm", "-o", left / "1.webm")[0] == 0 and (left / "1.webm").exists()


def test_standard_output_gets_it_and_it_stays(left: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "recsvc", "recover", "2.webm", "-o", "-"], cwd=left, capture_output=True
    )
    assert done.returncode == 0 and b"recovered" in done.stderr
    assert done.stdout == (left / "2.webm").read_bytes() and ebml.read(done.stdout).segment_size_known
    assert not (left / "-").exists()


def test_a_directory_that_cannot_be_read_is_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def refused(path: Path) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    with monkeypatch.context() as patch:
        patch.setattr(Path, "iterdir", refused)
        patch.setenv("RECSVC_SPOOL", str(tmp_path))
        assert command() == (1, "", f"recsvc: {tmp_path} cannot be read: Permission denied\n")
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    code, _, problem = command("down/below.webm")
    assert code == 1 and problem.startswith("recsvc: the current directory cannot be read")


def test_its_failures_have_one_line_and_an_exit_code(left: Path, tmp_path: Path) -> None:
    assert command("-o", tmp_path / "a")[0] == 2
    assert command("1.webm", "2.webm", "-o", tmp_path / "a")[0] == 2
    for arguments in (["missing.webm"], ["3.webm"], ["1.webm", "-o", str(tmp_path / "no" / "a")], [str(tmp_path)]):
        code, out, problem = command(*arguments)
        assert code == 1 and out == "" and problem.startswith("recsvc: ") and problem.count("\n") == 1
    assert (left / "1.webm").exists()
