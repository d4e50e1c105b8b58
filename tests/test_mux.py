"""The muxer's claims, each checked with a reader that is not the muxer's: ``ebml.py``, PyAV, mkvtoolnix, ffmpeg."""

from __future__ import annotations

import functools
import gc
import io
import os
import random
import resource
import shutil
import signal
import struct
import subprocess
import time
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import av
import ebml
import numpy as np
import pytest

from recsvc import errors
from recsvc.mux.muxer import Muxer
from recsvc.mux.packets import AudioPacket, SoundPacket, VideoPacket
from recsvc.mux.spool import AudioEntry, CopiedEntry, VideoEntry

PRE_SKIP = 312
SIZE = (64, 48)
SEED = int(os.environ.get("RECSVC_TEST_SEED", random.SystemRandom().randrange(2**32)))
FRAME_NS = 33_333_333


class Call(NamedTuple):
    """One packet for the muxer, and when it is given (recording time)."""

    at_ns: int
    kind: str
    packet: VideoPacket | AudioPacket

    def write(self, muxer: Muxer) -> None:
        muxer.write(self.packet)


@pytest.fixture
def rng() -> random.Random:
    print(f"RECSVC_TEST_SEED={SEED}")
    return random.Random(SEED)


@functools.cache
def opus_packets(sample_count: int, channels: int = 2) -> list[bytes]:
    encoder = av.CodecContext.create("libopus", "w")
    encoder.sample_rate, encoder.format = 48_000, "s16"
    encoder.layout = "stereo" if channels == 2 else "mono"
    packets = []
    for at in range(0, sample_count, 960):
        wave = np.sin(np.arange(at, min(at + 960, sample_count)) * 0.05) * 8000
        frame = av.AudioFrame.from_ndarray(
            wave.astype(np.int16).repeat(channels)[None], format="s16", layout=encoder.layout.name
        )
        frame.sample_rate, frame.pts = 48_000, at
        packets += encoder.encode(frame)
    packets += encoder.encode(None)
    assert encoder.extradata[10] | encoder.extradata[11] << 8 == PRE_SKIP
    assert len(packets) == -(-(sample_count + PRE_SKIP) // 960)
    return [bytes(packet) for packet in packets]


@functools.cache
def video_packets(count: int, codec: str = "vp8") -> list[tuple[bytes, bool]]:
    encoder = av.CodecContext.create("libvpx" if codec == "vp8" else "libvpx-vp9", "w")
    encoder.width, encoder.height = SIZE
    encoder.pix_fmt, encoder.time_base, encoder.gop_size = "yuv420p", Fraction(1, 30), 30
    encoder.options = {
        "deadline": "realtime",
        "lag-in-frames": "0",
        "cpu-used": "-8",
    }  # a fixed speed: the same each time
    packets = []
    for number in range(count):
        frame = av.VideoFrame(*SIZE, "yuv420p")
        for plane in frame.planes:
            plane.update(bytes([number * 7 % 256]) * plane.buffer_size)
        frame.pts = number
        packets += encoder.encode(frame)
    packets += encoder.encode(None)
    return [(bytes(packet), packet.is_keyframe) for packet in packets]


def audio_calls(sample_count: int, *, start_samples: int = 0, channels: int = 2) -> list[Call]:
    packets = opus_packets(sample_count, channels)
    padding = len(packets) * 960 - PRE_SKIP - sample_count
    last = len(packets) - 1
    return [
        Call(
            (start_samples + number * 960) * 10**9 // 48_000,
            "audio",
            AudioPacket(data, start_samples + number * 960, 960, padding if number == last else 0),
        )
        for number, data in enumerate(packets)
    ]


def video_calls(count: int, *, start_ns: int = 0, delay_ns: int = 0, codec: str = "vp8") -> list[Call]:
    calls = []
    for number, (data, is_key) in enumerate(video_packets(count, codec)):
        pts_ns = start_ns + number * FRAME_NS
        calls.append(Call(pts_ns + delay_ns, "video", VideoPacket(data, pts_ns, FRAME_NS, is_key)))
    return calls


def merged(*calls: list[Call]) -> list[Call]:
    return sorted((call for part in calls for call in part), key=lambda call: call.at_ns)


def muxer_for(
    path: Path, container: str, calls: list[Call], *, codec: str = "vp8", channels: int = 2, together: bool = False
) -> Muxer:
    kinds = {call.kind for call in calls}
    return Muxer(
        path,
        container,  # type: ignore[arg-type]
        video=VideoEntry(codec, *SIZE) if "video" in kinds else None,  # type: ignore[arg-type]
        audio=AudioEntry(channels, PRE_SKIP, 44_100) if "audio" in kinds else None,
        together=together,
    )


def record(path: Path, container: str, calls: list[Call], duration_ns: int, **tracks: object) -> ebml.File:
    muxer = muxer_for(path, container, calls, **tracks)  # type: ignore[arg-type]
    for call in calls:
        call.write(muxer)
    muxer.finish(duration_ns)
    assert muxer.bytes_written == path.stat().st_size
    return ebml.read(path.read_bytes()) if container != "ogg" else ebml.File()


def decoded(source: Path | bytes, kind: str) -> list[av.VideoFrame | av.AudioFrame]:
    with av.open(io.BytesIO(source) if isinstance(source, bytes) else str(source)) as container:
        return list(container.decode(**{kind: 0}))


def ogg_pages(data: bytes) -> list[tuple[int, int, int]]:
    """Flags, granule position and serial number of each page (RFC 3533 section 6), the CRCs checked."""
    pages, at = [], 0
    while at < len(data):
        magic, _, flags, granule, serial, number, _, count = struct.unpack_from("<4sBBqIIIB", data, at)
        end = at + 27 + count + sum(data[at + 27 : at + 27 + count])
        crc = 0
        for byte in data[at : at + 22] + bytes(4) + data[at + 26 : end]:
            crc = (crc << 8) ^ OGG_CRC[(crc >> 24) ^ byte] & 0xFFFFFFFF
            crc &= 0xFFFFFFFF
        assert (magic, number, crc) == (
            b"OggS",
            len(pages),
            int.from_bytes(data[at + 22 : at + 26], "little"),
        )
        pages.append((flags, granule, serial))
        at = end
    assert at == len(data)
    return pages


def _crc_of(byte: int) -> int:
    crc = byte << 24
    for _ in range(8):
        crc = crc << 1 ^ (0x04C11DB7 if crc & 1 << 31 else 0)
    return crc & 0xFFFFFFFF


OGG_CRC = [_crc_of(byte) for byte in range(256)]


def check(file: ebml.File, calls: list[Call], duration_ns: int) -> None:
    """What holds for every finished WebM and Matroska file whose packets came in time."""
    assert file.segment_size_known
    assert file.duration_ms == pytest.approx(duration_ns / 1e6, abs=1e-6)
    assert file.seek_head == {name: ats[0] for name, ats in file.level_1.items() if name not in ("SeekHead", "Cluster")}
    assert {len(ats) for name, ats in file.level_1.items() if name != "Cluster"} == {1}
    times = [block.ms for block in file.blocks]
    assert times == sorted(times), "the file's order is not that of time"
    assert all(0 <= block.ms - base < 400 for base, blocks in file.clusters for block in blocks)
    assert all(not (block.track == 1 and block.is_key_frame) for _, blocks in file.clusters for block in blocks[1:])
    for kind, number in (("video", 1), ("audio", 2)):
        blocks, given = file.of(number), [call.packet for call in calls if call.kind == kind]
        assert [block.data for block in blocks] == [packet.data for packet in given]
        assert all(a.ms < b.ms for a, b in zip(blocks, blocks[1:], strict=False)), "times do not rise strictly"
        for block, packet in zip(blocks, given, strict=True):
            is_video = isinstance(packet, VideoPacket)
            assert block.ms == pytest.approx(packet.at_ns / 1e6 if is_video else packet.start_samples / 48, abs=0.5001)
            assert block.is_key_frame == (packet.is_key_frame if is_video else True)
    keys = [block for block in file.of(1) if block.is_key_frame]
    if keys:
        assert [(cue.ms, cue.cluster_at, cue.block_at) for cue in file.cues] == [
            (block.ms, block.cluster.at, block.at) for block in keys
        ]
    else:
        assert [cue.ms for cue in file.cues] == list(range(0, times[-1] + 1, 5_000))


def sample_count_of(file: ebml.File) -> int:
    """The captured samples as the elements tell them."""
    (track,) = (track for track in file.tracks.values() if track["type"] == 2)
    blocks = file.of(2)
    ns = sum(block.discard_padding_ns for block in blocks) + int(track["codec_delay_ns"])  # type: ignore[call-overload]
    return len(blocks) * 960 - round(ns * 48_000 / 1e9)


# --- the file ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("container", ["webm", "matroska"])
@pytest.mark.parametrize("codec", ["vp8", "vp9"])
@pytest.mark.parametrize("tracks", ["video", "audio", "both"])
def test_finished_file(tmp_path: Path, container: str, codec: str, tracks: str) -> None:
    calls = merged(
        video_calls(75, codec=codec) if tracks != "audio" else [],
        audio_calls(120_100) if tracks != "video" else [],
    )
    file = record(tmp_path / "a", container, calls, 2_612_345_678, codec=codec)
    check(file, calls, 2_612_345_678)
    assert file.doc_type == container
    assert file.blocks[0].ms == 0
    assert {track["language"] for track in file.tracks.values()} == {"und"}
    video = [track for track in file.tracks.values() if track["type"] == 1]
    audio = [track for track in file.tracks.values() if track["type"] == 2]
    if tracks != "audio":
        assert video[0]["codec"] == f"V_{codec.upper()}" and video[0]["size"] == SIZE
        assert (video[0]["matrix"], video[0]["range"]) == (6, 1)
        assert len(decoded(tmp_path / "a", "video")) == 75
    if tracks != "video":
        head = b"OpusHead" + struct.pack("<BBHIhB", 1, 2, PRE_SKIP, 44_100, 0, 0)
        assert (audio[0]["codec"], audio[0]["private"]) == ("A_OPUS", head)
        assert (audio[0]["codec_delay_ns"], audio[0]["seek_pre_roll_ns"]) == (6_500_000, 80_000_000)
        assert (audio[0]["rate"], audio[0]["channels"]) == (48_000, 2)
    with av.open(str(tmp_path / "a")) as opened:
        assert opened.duration == pytest.approx(2_612_346, abs=1)


def test_tools_find_nothing_wrong(tmp_path: Path) -> None:
    for tool in ("ffprobe", "ffmpeg", "mkvmerge"):
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is not installed")
    calls = merged(video_calls(75), audio_calls(120_100))
    for container, part in (("webm", calls), ("matroska", calls), ("ogg", audio_calls(120_100))):
        path = tmp_path / f"a.{container}"
        record(path, container, part, 2_600_000_000)
        assert run("ffprobe", "-v", "warning", "-count_packets", str(path)) == ""
        assert len(run("ffmpeg", "-v", "warning", "-i", str(path), "-map", "0:a", "-f", "s16le", "-")) == 120_100 * 4
        copy = run("mkvmerge", "-o", str(tmp_path / "copy"), str(path))
        assert "Warning" not in copy and "Error" not in copy, copy


def run(*command: str) -> str:
    """What the tool prints; it must not fail."""
    done = subprocess.run(command, capture_output=True, check=True)
    assert done.stderr == b"", done.stderr
    return done.stdout.decode("latin-1")


def test_equal_packets_give_equal_files(tmp_path: Path) -> None:
    calls = merged(video_calls(30), audio_calls(48_000))
    for container in ("webm", "matroska"):
        for name, together in (("a", False), ("b", False), ("c", True)):
            record(tmp_path / name, container, calls, 10**9, together=together)
        assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes() == (tmp_path / "c").read_bytes()


# --- time -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("container", ["webm", "matroska", "ogg"])
@pytest.mark.parametrize("channels", [1, 2])
def test_sound_is_exact_to_the_sample(tmp_path: Path, container: str, channels: int, rng: random.Random) -> None:
    for count in (1, 647, 648, 649, 960, 48_000, *(rng.randrange(2, 100_000) for _ in range(4))):
        path = tmp_path / str(count)
        file = record(path, container, audio_calls(count, channels=channels), 10**9, channels=channels)
        if container != "ogg":
            assert sample_count_of(file) == count
        if container == "ogg" or count > 960 - PRE_SKIP:  # libavformat's reader trims a packet at one end only
            assert sum(frame.samples for frame in decoded(path, "audio")) == count  # type: ignore[union-attr]
        if container != "ogg":
            continue
        pages = ogg_pages(path.read_bytes())
        assert pages[-1][1] == count + PRE_SKIP
        assert [flags for flags, _, _ in pages] == [2, 0] + [0] * (len(pages) - 3) + [4]
        granules = [granule for _, granule, _ in pages[1:]]
        assert granules[0] == 0 and all(0 < b - a <= 21_120 for a, b in zip(granules, granules[1:], strict=False))


@pytest.mark.parametrize("late", ["video", "audio"])
def test_one_track_begins_later(tmp_path: Path, late: str, rng: random.Random) -> None:
    for _ in range(5):
        offset_ns = rng.randrange(1, 2 * 10**9)
        video = video_calls(30, start_ns=offset_ns if late == "video" else 0)
        audio = audio_calls(48_000, start_samples=offset_ns * 48_000 // 10**9 if late == "audio" else 0)
        calls = merged(video, audio)
        file = record(tmp_path / "a", "webm", calls, 3 * 10**9)
        check(file, calls, 3 * 10**9)
        assert min(file.of(1)[0].ms, file.of(2)[0].ms) == 0
        times = [block.ms for block in file.of(2)]
        assert times == list(range(times[0], times[0] + 20 * len(times), 20)), "rounding moved a packet"


def test_two_frames_in_one_millisecond(tmp_path: Path) -> None:
    (key, _), *others = video_packets(5)
    muxer = Muxer(tmp_path / "a", "webm", video=VideoEntry("vp8", *SIZE), audio=None)
    for data, pts_ns in zip((key, *(data for data, _ in others)), (0, 1, 499_999, 30_000_000, 30_400_000), strict=True):
        muxer.write(VideoPacket(data, pts_ns, 1_000_000, data is key))
    muxer.finish(31_000_000)
    assert [block.ms for block in ebml.read((tmp_path / "a").read_bytes()).blocks] == [0, 1, 2, 30, 31]


@pytest.mark.parametrize("duration_ns", [900_000_000, 5_000_000_000])
def test_duration_is_the_callers(tmp_path: Path, duration_ns: int) -> None:
    """Also where the packets end earlier (a still picture) or later."""
    file = record(tmp_path / "a", "webm", merged(video_calls(30), audio_calls(48_000)), duration_ns)
    assert file.duration_ms == duration_ns / 1e6


def test_packets_later_than_the_interleaving_waits_are_kept(tmp_path: Path) -> None:
    calls = merged(video_calls(60, delay_ns=700_000_000), audio_calls(96_000))
    file = record(tmp_path / "a", "webm", calls, 2 * 10**9)
    assert [block.data for block in file.of(1)] == [data for data, _ in video_packets(60)]
    assert [block.ms for block in file.of(1)] == [round(n * FRAME_NS / 1e6) for n in range(60)]
    for base, blocks in file.clusters:
        times = [block.ms for block in blocks]
        assert times == sorted(times) and times[0] == base, "times fall within a cluster"
    assert len(decoded(tmp_path / "a", "video")) == 60
    assert sum(frame.samples for frame in decoded(tmp_path / "a", "audio")) == 96_000  # type: ignore[union-attr]


def test_a_still_picture_says_how_long_it_lasts(tmp_path: Path) -> None:
    muxer = Muxer(tmp_path / "a", "webm", video=VideoEntry("vp8", *SIZE), audio=None)
    packets = video_packets(3)
    for number, duration_ns in enumerate((33_000_000, 4_967_000_000, 2_000_000_000)):
        muxer.write(VideoPacket(packets[number][0], (0, 33_000_000, 5 * 10**9)[number], duration_ns, number == 0))
    muxer.finish(7 * 10**9)
    blocks = ebml.read((tmp_path / "a").read_bytes()).blocks
    assert [(block.ms, block.duration_ms, block.is_key_frame) for block in blocks] == [
        (0, None, True),
        (33, 4967, False),
        (5000, 2000, False),
    ]
    with av.open(str(tmp_path / "a")) as opened:
        assert [(packet.pts, packet.duration, packet.is_keyframe) for packet in opened.demux() if packet.size][1:] == [
            (33, 4967, False),
            (5000, 2000, False),
        ]


# --- the growing file -------------------------------------------------------------------------------------

SITUATIONS: dict[str, Callable[[], list[Call]]] = {
    "both": lambda: merged(video_calls(150), audio_calls(240_000)),
    "one picture, then sound": lambda: merged(video_calls(1), audio_calls(240_000)),
    "slow pictures": lambda: merged(video_calls(150)[::60], audio_calls(240_000)),
    "sound ends": lambda: merged(video_calls(150), audio_calls(48_000)),
    "video lags": lambda: merged(video_calls(150, delay_ns=250_000_000), audio_calls(240_000)),
    "video only": lambda: video_calls(150),
    "sound only": lambda: audio_calls(240_000),
}


@pytest.mark.parametrize("together", [False, True])
@pytest.mark.parametrize("situation", SITUATIONS)
def test_at_most_one_second_is_not_in_the_file(tmp_path: Path, situation: str, together: bool) -> None:
    calls = SITUATIONS[situation]()
    muxer = muxer_for(tmp_path / "a", "webm", calls, together=together)
    seen = len(muxer.header)
    for number, call in enumerate(calls):
        call.write(muxer)
        if number % 10 == 9:
            muxer.look()
        if muxer.bytes_written > seen:
            seen, file_bytes = muxer.bytes_written, (tmp_path / "a").read_bytes()
            file = ebml.read(file_bytes)
            assert file.complete_end == len(file_bytes) == muxer.bytes_written
            assert muxer.written_until_ns == max(block.ms for block in file.blocks) * 1_000_000
        assert muxer.written_until_ns >= call.at_ns - 10**9
    muxer.finish(5 * 10**9)
    check(ebml.read((tmp_path / "a").read_bytes()), calls, 5 * 10**9)


def test_at_most_one_second_is_not_in_the_ogg_file(tmp_path: Path) -> None:
    calls = audio_calls(144_000)
    muxer = muxer_for(tmp_path / "a", "ogg", calls)
    assert (len(muxer.header), len(ogg_pages((tmp_path / "a").read_bytes()))) == (0, 2)
    for call in calls:
        call.write(muxer)
        end_samples = ogg_pages((tmp_path / "a").read_bytes())[-1][1] - PRE_SKIP
        assert muxer.written_until_ns == max(end_samples, 0) * 10**9 // 48_000 >= call.at_ns - 10**9
    muxer.finish(3 * 10**9)


@pytest.mark.parametrize("container", ["webm", "matroska", "ogg"])
def test_only_header_bytes_ever_change(tmp_path: Path, container: str) -> None:
    calls = merged([] if container == "ogg" else video_calls(60), audio_calls(96_000))
    muxer = muxer_for(tmp_path / "a", container, calls)
    copies = [(tmp_path / "a").read_bytes()]
    assert len(copies[0]) == muxer.bytes_written > len(muxer.header) - 1
    for call in calls:
        call.write(muxer)
        copies.append((tmp_path / "a").read_bytes())
    muxer.finish(2 * 10**9)
    whole = (tmp_path / "a").read_bytes()
    assert len(set(map(len, copies))) >= 4, "the file did not grow while it was written"
    changed = sum(a != b for a, b in zip(whole[: len(muxer.header)], copies[0], strict=False))
    assert changed <= 8 + 21 + 11, "more than the Segment's size, the Cues' SeekHead entry and the Duration"
    for copy in copies:
        assert copy[: len(muxer.header)] == copies[0][: len(muxer.header)], "the header changed before the end"
        assert whole[len(muxer.header) : len(copy)] == copy[len(muxer.header) :]
    assert len(muxer.header) == (0 if container == "ogg" else ebml.read(whole).header_end) < 1000


@pytest.mark.parametrize("container, situation", [("webm", "both"), ("webm", "one picture, then sound"), ("ogg", "")])
def test_a_killed_process_leaves_a_file_that_plays(tmp_path: Path, container: str, situation: str) -> None:
    if situation == "both":
        calls = merged(video_calls(300), audio_calls(480_000))
    else:
        calls = merged(video_calls(1) if situation else [], audio_calls(480_000))
    if (child := os.fork()) == 0:
        try:
            muxer = muxer_for(tmp_path / "a", container, calls)
            for call in calls:
                call.write(muxer)
        finally:
            os.kill(os.getpid(), signal.SIGKILL)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    assert sum(frame.samples for frame in decoded(tmp_path / "a", "audio")) >= 9 * 48_000  # type: ignore[union-attr]
    if situation:
        pictures = decoded(tmp_path / "a", "video")
        assert len(pictures) >= (270 if situation == "both" else 1)


def test_abort_leaves_what_a_crash_would(tmp_path: Path) -> None:
    calls = SITUATIONS["both"]()
    muxer = muxer_for(tmp_path / "a", "webm", calls)
    for call in calls:
        call.write(muxer)
    before = (tmp_path / "a").read_bytes()
    muxer.abort()
    muxer.abort()
    until_ns = muxer.written_until_ns
    with pytest.raises(errors.InvalidStateError):
        calls[0].write(muxer)
    del muxer
    gc.collect()
    assert (tmp_path / "a").read_bytes() == before
    assert until_ns <= 5 * 10**9 and len(decoded(before, "video")) >= 120


def test_clusters_are_bounded_at_any_bitrate(tmp_path: Path) -> None:
    muxer = Muxer(tmp_path / "a", "webm", video=VideoEntry("vp8", *SIZE), audio=None)
    for number in range(12):
        muxer.write(VideoPacket(bytes(1_000_000), number * 10_000_000, 10_000_000, number == 0))
    assert muxer.bytes_written > 10_000_000
    muxer.finish(120_000_000)
    assert [len(blocks) for _, blocks in ebml.read((tmp_path / "a").read_bytes()).clusters] == [5, 5, 2]


@pytest.mark.parametrize("first", [0, 1], ids=["begins a cluster", "within one"])
@pytest.mark.parametrize("off_s", [-3000, -33, 33, 3000])
def test_pictures_may_be_shown_long_after_they_are_decoded_and_before(off_s: int, first: int, tmp_path: Path) -> None:
    """Blocks stand at most 32.7 s from their cluster's time: a film of stills with B frames has more between both."""
    muxer = Muxer(tmp_path / "a", "matroska", video=VideoEntry("vp8", *SIZE), audio=None)
    expected = []
    for number in range(4):
        order_ms = 4_000_000 + number * 20
        expected.append(order_ms + 1000 * off_s * (number % 2 == first))
        muxer.write(VideoPacket(b"x", expected[-1] * 10**6, 10**7, False, order_ns=order_ms * 10**6))
    muxer.finish(None)
    assert [block.ms for block in ebml.read((tmp_path / "a").read_bytes()).blocks] == expected


def test_sound_in_packets_shorter_than_a_millisecond_keeps_its_time(tmp_path: Path) -> None:
    entry = CopiedEntry("A_PCM/INT/LIT", b"", 0, 0, None, 8000, 1, 0, 16)
    muxer = Muxer(tmp_path / "a", "matroska", audio=entry)
    for number in range(400):
        muxer.write(SoundPacket(bytes(4), number * 250_000, 250_000))
    muxer.finish(None)
    file = ebml.read((tmp_path / "a").read_bytes())
    assert len(file.blocks) == 400 and file.blocks[-1].ms == file.duration_ms == 100
    assert "Warning" not in run("mkvmerge", "-o", str(tmp_path / "b"), str(tmp_path / "a"))


@pytest.mark.parametrize("together", [False, True])
def test_flush_leaves_nothing_behind(tmp_path: Path, together: bool) -> None:
    (data, _), (other, _) = video_packets(2)
    entries = {"video": VideoEntry("vp8", *SIZE), "audio": AudioEntry(2, PRE_SKIP, 48_000)}
    muxer = Muxer(tmp_path / "a", "webm", **entries, together=together)  # type: ignore[arg-type]
    sound = audio_calls(9600)
    muxer.flush()
    muxer.write(VideoPacket(data, 0, FRAME_NS, True))
    for call in sound[:5]:
        call.write(muxer)
    muxer.flush()
    assert muxer.written_until_ns == 80_000_000
    file = ebml.read((tmp_path / "a").read_bytes())
    assert [(block.ms, block.track) for block in file.blocks] == [(0, 1)] + [(20 * n, 2) for n in range(5)]
    muxer.write(VideoPacket(other, 33_000_000, FRAME_NS, False))  # earlier than what was flushed
    for call in sound[5:]:
        call.write(muxer)
    muxer.finish(200_000_000)
    file = ebml.read((tmp_path / "a").read_bytes())
    assert [block.ms for block in file.of(1)] == [0, 33] and len(file.of(2)) == len(sound)
    assert len(decoded(tmp_path / "a", "video")) == 2


# --- ends and errors --------------------------------------------------------------------------------------


@pytest.mark.parametrize("tracks", ["video", "audio", "both"])
@pytest.mark.parametrize("container", ["webm", "matroska", "ogg"])
def test_no_packets(tmp_path: Path, container: str, tracks: str) -> None:
    if container == "ogg" and tracks != "audio":
        pytest.skip("not for Ogg")
    path = tmp_path / "a"
    audio = AudioEntry(1, PRE_SKIP, 16_000) if tracks != "video" else None
    muxer = Muxer(path, container, video=VideoEntry("vp9", *SIZE) if tracks != "audio" else None, audio=audio)  # type: ignore[arg-type]
    muxer.finish(1_500_000_000)
    with av.open(str(path)) as opened:
        assert [frame for frame in opened.decode() if not isinstance(frame, av.AudioFrame) or frame.samples] == []
    if container == "ogg":
        assert [(flags, granule) for flags, granule, _ in ogg_pages(path.read_bytes())] == [
            (2, 0),
            (0, 0),
            (4, 0),
        ]
        return
    file = ebml.read(path.read_bytes())
    assert (file.duration_ms, file.blocks, file.segment_size_known) == (1500.0, [], True)
    if shutil.which("mkvinfo"):
        assert "Error" not in run("mkvinfo", str(path))


def test_finish_does_not_depend_on_the_length(tmp_path: Path) -> None:
    """Ten minutes of pictures and sound: what finish adds is what was held and the Cues."""
    (key, _), (other, _), *_ = video_packets(2)
    sound = opus_packets(960)[0]
    muxer = Muxer(tmp_path / "a", "webm", video=VideoEntry("vp8", *SIZE), audio=AudioEntry(2, PRE_SKIP, 48_000))
    for tick in range(30_000):
        if tick % 2 == 0:
            muxer.write(VideoPacket(key if tick % 400 == 0 else other, tick * 20_000_000, 40_000_000, tick % 400 == 0))
        muxer.write(AudioPacket(sound, tick * 960))
    before, started = muxer.bytes_written, time.perf_counter()
    muxer.finish(600 * 10**9)
    seconds = time.perf_counter() - started
    file = ebml.read((tmp_path / "a").read_bytes())
    assert len(file.cues) == 75
    assert muxer.bytes_written - before < 75 * 24 + 50 * (len(sound) + len(key) + 16)
    assert seconds < 0.1, f"{seconds} s"


def test_full_disk(tmp_path: Path) -> None:
    with pytest.raises(errors.QuotaExceededError, match="/dev/full: No space left"):
        Muxer("/dev/full", "webm", video=None, audio=AudioEntry(2, PRE_SKIP, 48_000))


@pytest.fixture
def file_size_limit() -> Iterator[int]:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))
    yield 20_000
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_disk_full_in_the_middle(tmp_path: Path, file_size_limit: int) -> None:
    calls = SITUATIONS["both"]()
    muxer = muxer_for(tmp_path / "a", "webm", calls)
    with pytest.raises(errors.QuotaExceededError) as first:
        for call in calls:
            call.write(muxer)
    assert str(tmp_path / "a") in str(first.value) and "File too large" in str(first.value)
    for again in (lambda: calls[-1].write(muxer), lambda: muxer.finish(0)):
        with pytest.raises(errors.QuotaExceededError, match=str(first.value)):
            again()
    muxer.abort()
    left = (tmp_path / "a").read_bytes()
    assert ebml.read(left).complete_end == muxer.bytes_written == len(left) <= file_size_limit
    assert len(decoded(left, "video")) == muxer.written.pictures > 10


def test_disk_full_in_finish(tmp_path: Path) -> None:
    calls = SITUATIONS["both"]()
    muxer = muxer_for(tmp_path / "a", "webm", calls)
    for call in calls:
        call.write(muxer)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (muxer.bytes_written + 10, limits[1]))
    try:
        with pytest.raises(errors.QuotaExceededError):
            muxer.finish(5 * 10**9)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert len(decoded(tmp_path / "a", "video")) >= 120


def test_other_errors(tmp_path: Path) -> None:
    audio, video = AudioEntry(2, PRE_SKIP, 48_000), VideoEntry("vp8", *SIZE)
    with pytest.raises(errors.UnknownError, match=f"{tmp_path}/none/a: No such file"):
        Muxer(tmp_path / "none" / "a", "webm", video=None, audio=audio)
    with pytest.raises(errors.UnknownError, match="Is a directory"):
        Muxer(tmp_path, "webm", video=None, audio=audio)
    with pytest.raises(errors.NotSupportedError, match="vp8"):
        Muxer(tmp_path / "a", "ogg", video=video, audio=audio)
    with pytest.raises(ValueError, match="track"):
        Muxer(tmp_path / "a", "webm", video=None, audio=None)
    with pytest.raises(ValueError, match="mp4"):
        Muxer(tmp_path / "a", "mp4", video=video, audio=audio)  # type: ignore[arg-type]
    muxer = Muxer(tmp_path / "a", "webm", video=None, audio=audio)
    with pytest.raises(errors.InvalidStateError, match="no video track"):
        muxer.write(VideoPacket(b"x", 0, 0, True))
    for arguments in ((b"", 0), (b"x", -1), (b"x", 0, 960, 960), (b"x", 0, 960, -1)):
        with pytest.raises(ValueError, match="no audio packet"):
            muxer.write(AudioPacket(*arguments))
    muxer.finish(0)
    for call in (lambda: muxer.finish(0), lambda: muxer.write(AudioPacket(b"x", 0))):
        with pytest.raises(errors.InvalidStateError, match="closed"):
            call()
    muxer.abort()


def test_why_libavformat_does_not_mux_here(tmp_path: Path) -> None:
    """It keeps the sound behind a silent VP8 track in memory, without end. When this fails, use it."""
    path = tmp_path / "held.webm"
    with av.open(
        str(path), "w", format="webm", options={"flush_packets": "1", "max_interleave_delta": "300000"}
    ) as out:
        video = out.add_mux_stream("vp8", width=16, height=16)
        sound = out.add_stream("libopus", rate=48_000)
        picture = av.Packet(bytes(range(1, 64)))
        picture.stream, picture.pts, picture.dts = video, 0, 0
        picture.time_base, picture.is_keyframe = Fraction(1, 1000), True
        out.mux(picture)
        for index in range(1000):  # 20 s
            frame = av.AudioFrame(format="s16", layout="stereo", samples=960)
            frame.sample_rate, frame.pts, frame.time_base = 48_000, index * 960, Fraction(1, 48_000)
            out.mux(sound.encode(frame))
        assert path.stat().st_size < 1000
    assert path.stat().st_size > 1000
