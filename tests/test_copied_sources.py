"""Files and network streams that are recorded as they are: what one program demultiplexes out of the source is what
another finds in the file."""

from __future__ import annotations

import contextlib
import io
import itertools
import json
import signal
import subprocess
import threading
import time
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import av
import encoded
import numpy as np
import pytest
from command_line import run, run_inside
from fixtures_media import make_file, mpegts_server, program, wait_until
from worker_bench import Bench, accounted

import recsvc
from recsvc.capture.demuxed import PacketReader
from recsvc.capture.live import Live
from recsvc.capture.opening import open_source
from recsvc.capture.source import PacketFormat, TrackInfo
from recsvc.capture.stamps import Stamps
from recsvc.common.constraints import VideoWish
from recsvc.encode.copied import CopiedPictures
from recsvc.mux.bitstream import split_annex_b, split_lengths
from recsvc.wire import messages
from recsvc.wire.captured_packets import HeldPacketSender
from recsvc.wire.frames import Packet

pytest_plugins = ["worker_bench"]

S = 1_000_000_000
MS = 1_000_000
DEADLINE_S = 30.0
ENCODED = {"encoded": True}


class Found(NamedTuple):
    units: Any  # of H.264 and H.265, else the bytes
    at_ns: int
    is_key: bool


def demuxed(file: Any, kind: str) -> list[Found]:
    """The packets of a track as libavformat finds them, with start codes or lengths taken off."""
    with av.open(file) as container:
        stream = next(stream for stream in container.streams if stream.type == kind)
        codec = stream.codec_context.codec.canonical_name
        has_lengths = bytes(stream.codec_context.extradata or b"")[:1] == b"\1"
        found = []
        for packet in container.demux(stream):
            if packet.size:
                data: Any = bytes(packet)
                if codec in ("h264", "hevc"):
                    data = split_lengths(data, 4) if has_lengths else split_annex_b(data)
                elif codec == "aac" and data[:1] == b"\xff":
                    data = data[7:]
                elif codec == "av1":
                    data = data.removeprefix(b"\x12\0")  # a delimiter, which no file has
                at_ns = -1 if packet.pts is None else round(packet.pts * packet.time_base * S)
                found.append(Found(data, at_ns, bool(packet.is_keyframe)))
        return found


class Feeding:
    """A sink that gives a track's packets to a worker."""

    is_recorded = True

    def __init__(self, bench: Bench, route: str) -> None:
        self.packets: list[Packet] = []
        self.over = threading.Event()
        self.counts: dict[str, int] = {}
        self.error: Exception | None = None
        self._bench, self._route = bench, route

    def packet(self, packet: Packet) -> None:
        self.packets.append(packet)

    def count(self, cause: str, amount: int = 1) -> None:
        self.counts[cause] = self.counts.get(cause, 0) + amount

    def ended(self, error: Exception | None = None) -> None:
        self.error = error
        self.over.set()

    def wait_wanted(self, timeout_s: float) -> bool:
        return True

    def feed(self) -> None:
        damaged = number = 0
        for one in self.packets:
            if one.damaged:
                damaged += 1
                continue
            header = messages.PacketFrame(
                route=self._route, sequence=number, captured_ns=one.captured_ns, key_frame=one.key_frame,
                duration_ns=one.duration_ns, offset_ns=one.offset_ns, padding_ns=one.padding_ns,
                dropped={"damaged": damaged} if damaged else {},
            )  # fmt: skip
            self._bench.give(header, one.payload)
            number += 1
        dropped = {"damaged": damaged} if damaged else {}
        self._bench.give(messages.End(route=self._route, count=number, until_ns=0, dropped=dropped))
        self._bench.work()


def copy(source: str, bench: Bench, directory: Path, *kinds: str, mime_type: str = "") -> tuple[bytes, Any]:
    """What a recording of the source's packets holds, without processes between, and its report."""
    wishes = [ENCODED if kind in kinds else None for kind in ("audio", "video")]
    opened = open_source(source, *wishes)
    sinks = {track.kind: Feeding(bench, f"a/{track.kind}") for track in opened.tracks}
    tracks = [
        messages.RecordedTrack(
            track=one.kind, kind=one.kind, captured=True, settings={**one.settings, "clock": "media"}
        )
        for one in opened.tracks
    ]
    request = messages.OpenRecording(
        recording="a", path=str(directory / "copy"), tracks=tuple(tracks),
        routes=tuple(f"a/{track.kind}" for track in tracks),
        options=messages.RecordingOptions(mime_type=mime_type, audio_bits_per_second=0, video_bits_per_second=0),
        at_ns=time.monotonic_ns(),
    )  # fmt: skip
    bench.worker._do(request)
    opened.start(sinks)
    for sink in sinks.values():
        assert sink.over.wait(DEADLINE_S) and sink.error is None
        sink.feed()
    opened.close()
    report = bench.finished("a")
    assert not report.error, report.text
    return Path(report.whole.path).read_bytes(), report


def assert_copied(data: bytes, source: Any, kind: str) -> None:
    """The same packets in the same order, with the same times, up to where time begins."""
    ours, theirs = demuxed(io.BytesIO(data), kind), demuxed(source, kind)
    assert [one.units for one in ours] == [one.units for one in theirs]
    assert [one.is_key for one in ours] == [one.is_key for one in theirs]
    if theirs[0].at_ns >= 0 and kind == "video":
        begin_ns = theirs[0].at_ns - ours[0].at_ns
        off_ns = [abs(a.at_ns + begin_ns - b.at_ns) for a, b in zip(ours, theirs, strict=True)]
        assert max(off_ns) <= 2 * MS


def assert_found_well(data: bytes, directory: Path) -> None:
    """mkvtoolnix and ffprobe have nothing to say against it."""
    path = directory / "checked.mkv"
    path.write_bytes(data)
    said = subprocess.run([program("mkvinfo"), "--all", path], capture_output=True, text=True, timeout=60, check=True)
    assert "error" not in said.stdout.lower() and "warning" not in said.stdout.lower(), said.stdout[-500:]
    said = subprocess.run([program("mkvmerge"), "-J", path], capture_output=True, text=True, timeout=60, check=True)
    identified = json.loads(said.stdout)
    assert not identified["errors"] and not identified["warnings"]
    command = [program("ffmpeg"), "-v", "warning", "-xerror", "-i", str(path), "-f", "null", "-"]
    played = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert not [line for line in played.stderr.splitlines() if not line.startswith("Guessed Channel Layout")]


# --- packets in are packets out -------------------------------------------------------------------

PICTURES = [
    *(("h264", ending) for ending in ("mp4", "mkv", "ts", "flv")),
    ("h264 open", "ts"), ("h264 plain", "h264"),
    *(("h265", ending) for ending in ("mp4", "mkv", "ts")),
    *(("av1", ending) for ending in ("mp4", "mkv", "webm", "ivf")),
    *((codec, ending) for codec in ("vp8", "vp9") for ending in ("webm", "mkv", "ivf")),
]  # fmt: skip


@pytest.mark.parametrize(("name", "ending"), PICTURES)
def test_pictures_of_a_file_are_its_packets(name: str, ending: str, bench: Bench, tmp_path: Path) -> None:
    path = tmp_path / f"source.{ending}"
    encoded.put_into(str(path), encoded.film(name), form="hevc" if ending == "h265" else None)
    data, report = copy(f"file:{path}?pace=max", bench, tmp_path, "video")
    assert_copied(data, str(path), "video")
    [track] = report.statistics.tracks
    assert accounted(track) == (50, 50, 0) and not track.timestamps_corrected
    assert report.statistics.duration == pytest.approx(2.0, abs=0.002)
    with av.open(io.BytesIO(data)) as container:
        assert [round(float(frame.time) * 25) for frame in container.decode(video=0)] == list(range(50))
    assert_found_well(data, tmp_path)


SOUND = [
    ("opus", "webm"), ("opus", "ogg"), ("opus", "mp4"), ("opus", "ts"),
    ("aac", "mp4"), ("aac", "ts"), ("aac", "aac"), ("aac", "flv"),
    ("pcm", "wav"), ("pcm", "mkv"), ("alaw", "wav"), ("alaw", "mov"), ("ulaw", "wav"), ("ulaw", "mov"),
]  # fmt: skip


@pytest.mark.parametrize(("codec", "ending"), SOUND)
def test_sound_of_a_file_is_its_packets(codec: str, ending: str, bench: Bench, tmp_path: Path) -> None:
    path = tmp_path / f"source.{ending}"
    encoded.put_into(str(path), encoded.tone(codec), form="adts" if ending == "aac" else None)
    data, report = copy(f"file:{path}?pace=max", bench, tmp_path, "audio")
    assert_copied(data, str(path), "audio")
    [track] = report.statistics.tracks
    assert not track.frames_dropped and not track.timestamps_corrected
    assert report.statistics.duration == pytest.approx(2.0, abs=0.07)  # what an encoder adds stays
    assert_found_well(data, tmp_path)


@pytest.mark.parametrize(
    ("codecs", "mime_type", "expected"),
    [
        (("h264", "aac"), "", "video/x-matroska;codecs=avc1,mp4a.40.2"),
        (("vp9", "opus"), "", "video/webm;codecs=vp9,opus"),
        (("vp9", "opus"), "video/x-matroska", "video/x-matroska;codecs=vp9,opus"),
        (("av1", "opus"), "video/webm", "video/webm;codecs=av01,opus"),
    ],
)
def test_the_codecs_of_a_file_decide_the_type(
    codecs: tuple[str, str], mime_type: str, expected: str, bench: Bench, tmp_path: Path
) -> None:
    path = tmp_path / "source.mkv"
    encoded.put_into(str(path), encoded.film(codecs[0]), encoded.tone(codecs[1]))
    data, report = copy(f"file:{path}?pace=max", bench, tmp_path, "audio", "video", mime_type=mime_type)
    assert report.whole.mime_type == expected
    for kind in ("audio", "video"):
        assert_copied(data, str(path), kind)
    assert_found_well(data, tmp_path)


def played(file: Any, kind: str) -> tuple[float, Any]:
    """When a track begins to be played, in seconds, and its samples (of pictures nothing), by FFmpeg's decoder."""
    with av.open(file) as container:
        frames = list(container.decode(next(one for one in container.streams if one.type == kind)))
        assert frames[0].time is not None
        samples = [frame.to_ndarray() for frame in frames if isinstance(frame, av.AudioFrame)]
        return frames[0].time, np.concatenate(samples, axis=1) if samples else None


@pytest.mark.parametrize("ending", ["mp4", "mkv", "webm", "ogg"])
def test_what_an_encoder_adds_to_opus_is_not_heard(ending: str, bench: Bench, tmp_path: Path) -> None:
    """Its beginning by the pre-skip (in MP4 an edit list, in WebM a delay), its end by DiscardPadding, a granule
    position or a short last packet. Pictures and sound stay as far apart as they are played."""
    path, kinds = tmp_path / f"source.{ending}", ["audio"] if ending == "ogg" else ["audio", "video"]
    pictures = ["testsrc=size=64x48:rate=25:duration=2"][: len(kinds) - 1]
    options = ("-c:a", "libopus", *(("-c:v", "libvpx" if ending == "webm" else "libx264") if pictures else ()))
    make_file(path, *pictures, "sine=frequency=440:sample_rate=48000:duration=2.013", options=options)
    data, report = copy(f"file:{path}?pace=max", bench, tmp_path, *kinds)
    begin_s, samples = played(io.BytesIO(data), "audio")
    source_s, expected = played(str(path), "audio")
    assert samples.shape[1] == 96_624
    assert np.array_equal(samples, expected[:, :96_624])  # FFmpeg plays all of the last one of MP4
    assert begin_s == pytest.approx(0, abs=0.001)
    if pictures:
        apart_s = played(str(path), "video")[0] - source_s
        assert played(io.BytesIO(data), "video")[0] - begin_s == pytest.approx(apart_s, abs=0.0015)
    assert report.statistics.duration == pytest.approx(2.013, abs=0.0011)
    assert_found_well(data, tmp_path)


@pytest.mark.parametrize("delayed", ["audio", "video"])
def test_a_track_that_begins_later_by_an_edit_list_does(delayed: str, bench: Bench, tmp_path: Path) -> None:
    path = tmp_path / "source.mp4"
    tracks = {"video": encoded.film("h264"), "audio": encoded.tone("aac")}
    with contextlib.ExitStack() as stack:
        output = stack.enter_context(av.open(str(path), "w"))
        inputs = {kind: stack.enter_context(av.open(io.BytesIO(track))) for kind, track in tracks.items()}
        streams = {kind: output.add_stream_from_template(one.streams[0], opaque=True) for kind, one in inputs.items()}
        for kind, one in inputs.items():
            for packet in one.demux(one.streams[0]):
                if packet.size:
                    packet.stream = streams[kind]
                    late = round(0.5 / packet.time_base) if kind == delayed else 0
                    packet.pts, packet.dts = packet.pts + late, packet.dts + late
                    output.mux(packet)
    data, _ = copy(f"file:{path}?pace=max", bench, tmp_path, "audio", "video")
    for kind in tracks:
        assert_copied(data, str(path), kind)
    found = {kind: demuxed(io.BytesIO(data), kind)[0].at_ns / S for kind in tracks}
    source = {kind: demuxed(str(path), kind)[0].at_ns / S for kind in tracks}
    assert abs(source["video"] - source["audio"]) > 0.45
    assert found["video"] - found["audio"] == pytest.approx(source["video"] - source["audio"], abs=0.001)


def test_what_an_edit_list_hides_is_there_and_tracks_stay_together(bench: Bench, tmp_path: Path) -> None:
    """A film that was cut without encoding it anew begins with what decoding needs, in each track another length."""
    whole, path = tmp_path / "whole.mp4", tmp_path / "source.mp4"
    encoded.put_into(str(whole), encoded.film("h264"), encoded.tone("aac"))
    command = [program("ffmpeg"), "-v", "error", "-ss", "0.6", "-i", str(whole), "-c", "copy", str(path)]
    subprocess.run(command, timeout=60, check=True)
    data, _ = copy(f"file:{path}?pace=max", bench, tmp_path, "audio", "video")
    assert any(found.at_ns < -100 * MS for found in demuxed(str(path), "video"))  # hidden, and not the codec's delay
    apart = []
    for kind in ("audio", "video"):
        assert_copied(data, str(path), kind)
        apart += [
            a.at_ns - b.at_ns for a, b in zip(demuxed(io.BytesIO(data), kind), demuxed(str(path), kind), strict=True)
        ]
    assert max(apart) - min(apart) <= 2 * MS


SLIDES_MS = (3000, 1000, 500, 4000, 3000)


@pytest.mark.parametrize(("codec", "ending"), [("libx264", "mp4"), ("libx264", "mkv"), ("libvpx", "webm")])
def test_the_last_of_slow_pictures_lasts_as_long_as_in_its_file(
    codec: str, ending: str, bench: Bench, tmp_path: Path
) -> None:
    path, at_ms = tmp_path / f"source.{ending}", 0
    with av.open(str(path), "w") as output:
        stream = output.add_stream(codec, Fraction(1, 3))
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.codec_context.time_base = Fraction(1, 1000)
        stream.codec_context.max_b_frames = 0
        for lasts_ms in SLIDES_MS:
            frame = av.VideoFrame(64, 48, "yuv420p")
            frame.pts, frame.time_base, frame.duration = at_ms, Fraction(1, 1000), lasts_ms
            output.mux(stream.encode(frame))
            at_ms += lasts_ms
        output.mux(stream.encode(None))
    data, report = copy(f"file:{path}?pace=max", bench, tmp_path, "video")
    assert_copied(data, str(path), "video")
    assert report.statistics.duration == 11.5
    with av.open(io.BytesIO(data)) as container:
        assert container.duration == 11_500_000
        *_, last = [packet for packet in container.demux(video=0) if packet.size]
        assert last.duration * last.time_base == 3
    assert not report.statistics.tracks[0].timestamps_corrected


@pytest.mark.parametrize(
    ("rate", "last_s", "expected_s"), [(None, 0, 3.0), (25, 0, 0.04), (None, 5, 5.0), (25, 5, 5.0)]
)
def test_a_last_picture_of_which_nobody_says_how_long_it_lasts(
    rate: float | None, last_s: int, expected_s: float
) -> None:
    """As for raw ones: by the declared rate, else as long as the one before it, however long that was."""
    settings = {"codec": "vp8", "width": 160, "height": 120, "clock": "media", "frame_rate": rate}
    pictures = CopiedPictures(messages.RecordedTrack(track="video", kind="video", captured=False, settings=settings))
    for number, packet in enumerate(encoded.pictures("vp8").packets[:4]):
        header = messages.PacketFrame(
            route="a", sequence=number, captured_ns=number * 3 * S, key_frame=packet.is_key,
            duration_ns=last_s * S if number == 3 else 0,
        )  # fmt: skip
        assert pictures.encode(header, packet.data)
    assert pictures.media_end_ns == (9 + expected_s) * S


SHOWN_MS = (80, 80, 100, 80, 160)


def test_no_two_of_pictures_that_are_reordered_stand_at_one_time() -> None:
    settings = {"codec": "vp8", "width": 160, "height": 120, "clock": "media"}
    pictures = CopiedPictures(messages.RecordedTrack(track="video", kind="video", captured=False, settings=settings))
    found = []
    for number, (packet, shown_ms) in enumerate(zip(encoded.pictures("vp8").packets, SHOWN_MS, strict=False)):
        header = messages.PacketFrame(
            route="a", sequence=number, captured_ns=number * 20 * MS, key_frame=packet.is_key,
            offset_ns=(shown_ms - number * 20) * MS,
        )  # fmt: skip
        found += pictures.encode(header, packet.data)
    assert [one.ms for one in found] == [80, 81, 100, 82, 160]
    assert pictures.statistics().timestamps_corrected == {"repeated": 2}


# --- streams that are not as they should be -------------------------------------------------------


def times_of(data: bytes) -> list[int]:
    """When its pictures are shown, in ms, in that order."""
    return sorted(round(one.at_ns / MS) for one in demuxed(io.BytesIO(data), "video"))


def assert_plays(data: bytes, count: int) -> None:
    """FFmpeg decodes so many pictures and finds no fault."""
    command = [program("ffmpeg"), "-v", "warning", "-i", "-", "-map", "0:v", "-f", "null", "-"]
    done = subprocess.run(command, input=data, capture_output=True, timeout=60, check=True)
    assert not done.stderr.strip(), done.stderr
    with av.open(io.BytesIO(data)) as container:
        assert len(list(container.decode(video=0))) == count


def test_a_counter_that_wraps_leaves_no_trace(bench: Bench, tmp_path: Path) -> None:
    path = tmp_path / "source.ts"
    encoded.put_into(str(path), encoded.film("h264"), output_ts_offset="95442.7")  # 2**33 ticks are 95443.7 s
    data, report = copy(f"file:{path}?pace=max", bench, tmp_path, "video")
    assert accounted(report.statistics.tracks[0]) == (50, 50, 0)
    assert times_of(data) == [number * 40 for number in range(50)]


@pytest.mark.parametrize("offsets", [("0", "5000"), ("5000", "0"), ("5000", "5001")])
def test_a_counter_that_begins_anew_goes_on_with_other_parameter_sets(
    offsets: tuple[str, str], bench: Bench, tmp_path: Path
) -> None:
    paths = [tmp_path / f"{number}.ts" for number in range(2)]
    for path, size, offset in zip(paths, ((160, 120), (320, 240)), offsets, strict=True):
        encoded.put_into(str(path), encoded.film("h264 plain", size=size), output_ts_offset=offset)
    both = tmp_path / "both.ts"
    both.write_bytes(b"".join(path.read_bytes() for path in paths))
    data, report = copy(f"file:{both}?pace=max", bench, tmp_path, "video")
    [track] = report.statistics.tracks
    received, kept, _ = accounted(track)
    assert received == 100 and kept >= 98  # where one ends the packet that was begun may be torn
    assert set(track.dropped_by_cause) <= {"damaged", "awaiting_key_frame"}
    found = times_of(data)
    assert found[0] == 0 and 3900 <= found[-1] <= 4000
    assert {b - a for a, b in zip(found, found[1:], strict=False)} <= {*range(38, 43), 80, 120}
    assert_plays(data, kept)
    with av.open(io.BytesIO(data)) as container:
        assert {frame.width for frame in container.decode(video=0)} == {160, 320}


def reordered(pictures: CopiedPictures, shown_ms: list[int], *, order_ms: int = 0, paused_ms: int = 0) -> list[int]:
    """When pictures that are decoded every 40 ms and shown at these times are shown in the file (ms)."""
    found = []
    for number, (packet, at_ms) in enumerate(zip(encoded.pictures("vp8").packets, shown_ms, strict=False)):
        captured_ms = order_ms + number * 40
        header = messages.PacketFrame(
            route="a", sequence=pictures.account.received, captured_ns=captured_ms * MS, key_frame=packet.is_key,
            offset_ns=(at_ms - captured_ms) * MS, paused_ns=paused_ms * MS,
        )  # fmt: skip
        pictures.account.received += 1
        found += [one.ms for one in pictures.encode(header, packet.data)]
    return found


def test_pictures_after_a_pause_are_shown_after_all_before_it_and_soon_when_they_are_due() -> None:
    """The last one before it is shown late, for the pictures between, which the pause has swallowed."""
    settings = {"codec": "vp8", "width": 160, "height": 120}
    pictures = CopiedPictures(messages.RecordedTrack(track="video", kind="video", captured=False, settings=settings))
    assert reordered(pictures, [80, 240]) == [80, 240]
    after = reordered(pictures, [1080, 1240, 1160, 1120, 1200, 1400, 1320, 1280], order_ms=1000, paused_ms=950)
    natural = [130, 290, 210, 170, 250, 450, 370, 330]
    assert sorted(after)[0] > 240 and [after.index(at) for at in sorted(after)] == [0, 3, 2, 4, 1, 7, 6, 5]
    assert [at - due for at, due in zip(after, natural, strict=True) if due > 270] == [0, 0, 0, 0]
    assert not pictures.statistics().timestamps_corrected


@pytest.mark.parametrize("count", [1, 2, 3])
def test_a_track_ends_with_the_last_picture_that_is_shown_whatever_is_left_out(count: int) -> None:
    settings = {"codec": "vp8", "width": 160, "height": 120}
    pictures = CopiedPictures(messages.RecordedTrack(track="video", kind="video", captured=False, settings=settings))
    shown_ms = [80, 240, 160, 120, 200]
    reordered(pictures, shown_ms)
    pictures.left_out(count, 0)
    assert pictures.end_ns == max(shown_ms[:-count]) * MS and pictures.account.encoded == 5 - count
    assert reordered(pictures, [360, 400], order_ms=200) == [360, 400]


@pytest.mark.parametrize("offsets", [("0", "5000"), ("5000", "0"), ("10", "12"), ("10", "11.7")])
@pytest.mark.parametrize(
    "films", [("h264", "h264 plain"), ("h264 plain", "h264"), ("h264 open", "h264"), ("h265", "h265 sliced")]
)
def test_after_a_jump_no_two_pictures_are_shown_at_one_time(
    films: tuple[str, str], offsets: tuple[str, str], bench: Bench, tmp_path: Path
) -> None:
    """Though they come out of order in one of the films and not in the other."""
    both = tmp_path / "both.ts"
    for film, offset in zip(films, offsets, strict=True):
        path = tmp_path / "one.ts"
        encoded.put_into(str(path), encoded.film(film), output_ts_offset=offset)
        with both.open("ab") as file:
            file.write(path.read_bytes())
    data, report = copy(f"file:{both}?pace=max", bench, tmp_path, "video")
    assert accounted(report.statistics.tracks[0])[1] >= 98
    steps = [b - a for a, b in itertools.pairwise(times_of(data))]
    assert set(steps[:45] + steps[50:]) <= {*range(38, 43), 80} and min(steps) >= 38 and max(steps) <= 240
    assert_plays(data, accounted(report.statistics.tracks[0])[1])


def test_a_description_that_changes_out_of_band_goes_into_the_packets(bench: Bench, tmp_path: Path) -> None:
    first, second = tmp_path / "first.flv", tmp_path / "second.flv"
    for path, size in ((first, (160, 120)), (second, (320, 240))):
        encoded.put_into(str(path), encoded.film("h264", size=size))
    first.write_bytes(first.read_bytes() + second.read_bytes()[13:])  # without its header
    data, report = copy(f"file:{first}?pace=max", bench, tmp_path, "video")
    assert accounted(report.statistics.tracks[0]) == (100, 100, 0)
    assert times_of(data) == [number * 40 for number in range(100)]
    assert_plays(data, 100)
    with av.open(io.BytesIO(data)) as container:
        assert {frame.width for frame in container.decode(video=0)} == {160, 320}


def test_a_description_that_changes_and_fits_no_packet_ends_the_track_with_the_reason(
    bench: Bench, tmp_path: Path
) -> None:
    first, second = tmp_path / "first.flv", tmp_path / "second.flv"
    encoded.put_into(str(first), encoded.tone("aac"))
    encoded.put_into(str(second), encoded.tone("aac"))
    other = bytearray(second.read_bytes()[13:])
    config = bytes(av.open(str(second)).streams[0].codec_context.extradata or b"")
    at = other.index(config)
    other[at] ^= 0x08
    first.write_bytes(first.read_bytes() + other)
    source = open_source(f"file:{first}?pace=max", ENCODED, None)
    sink = Feeding(bench, "a/audio")
    source.start({"audio": sink})
    assert sink.over.wait(DEADLINE_S)
    source.close()
    assert isinstance(sink.error, recsvc.errors.NotReadableError)
    assert "aac has changed in its midst" in str(sink.error)
    assert len(sink.packets) == len(demuxed(str(second), "audio"))


@pytest.mark.parametrize("ending", ["ts", "mp4"])
def test_garbage_in_the_midst_is_left_out_with_what_needs_it(ending: str, bench: Bench, tmp_path: Path) -> None:
    path = tmp_path / f"source.{ending}"
    encoded.put_into(str(path), encoded.film("h264 plain"))
    whole = bytearray(path.read_bytes())
    middle = len(whole) // 2
    whole[middle : middle + 900] = bytes((number * 7 + 1) % 256 for number in range(900))
    path.write_bytes(whole)
    data, report = copy(f"file:{path}?pace=max", bench, tmp_path, "video")
    [track] = report.statistics.tracks
    received, kept, left_out = accounted(track)
    assert track.dropped_by_cause["damaged"] >= 1 and track.dropped_by_cause["awaiting_key_frame"] >= 1
    assert received >= 45 and 30 <= kept == received - left_out
    assert_plays(data, kept)


def test_the_first_packets_of_a_live_stream_may_come_without_a_stamp(tmp_path: Path) -> None:
    path = tmp_path / "source.mkv"
    encoded.put_into(str(path), encoded.film("h264 plain"))
    info = TrackInfo("video", "", PacketFormat({"codec": "h264", "frame_rate": 25.0}))
    live = Live([info])
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        reader = PacketReader(stream, VideoWish(encoded=True), "it", Stamps())
        packets = [packet for packet in container.demux(stream) if packet.size]
        for packet in packets[:2]:
            packet.pts = packet.dts = None
        for packet in packets[:5]:
            reader.take(packet, 0, live)
    found = [packet for _, packet in live._early]
    assert [one.captured_ns // MS for one in found] == [0, 40, 80, 120, 160]
    assert [one.key_frame for one in found] == [True, False, False, False, False]


def test_a_stream_whose_first_key_frame_comes_late_says_what_it_waited_for(bench: Bench, tmp_path: Path) -> None:
    path = tmp_path / "source.ts"
    encoded.put_into(str(path), encoded.film("h264 plain", 270), encoded.tone("opus", 10.8))
    rest = path.read_bytes()[188 * 30 :]
    path.write_bytes(rest)
    wishes = {"encoded": True}
    source = open_source(f"file:{path}?pace=max", wishes, wishes)
    assert [track.settings["codec"] for track in source.tracks] == ["opus", "h264"]
    source.close()


# --- through all processes ------------------------------------------------------------------------


def open_encoded(source: str, *kinds: str, **constraints: Any) -> recsvc.MediaStream:
    wishes: dict[str, Any] = {kind: {"source": source, "encoded": True} for kind in kinds}
    if constraints:
        wishes["video"] |= constraints
    return recsvc.get_user_media(**wishes)


def by_kind(statistics: recsvc.RecordingStatistics) -> dict[str, Any]:
    for track in statistics.tracks:
        assert track.frames_accepted == track.frames_encoded + track.frames_dropped
    return {track.kind: track for track in statistics.tracks}


def test_a_file_in_real_time_is_recorded_from_its_first_key_frame_on(tmp_path: Path) -> None:
    path = tmp_path / "source.mp4"
    encoded.put_into(str(path), encoded.film("h264"), encoded.tone("aac"))
    with open_encoded(f"file:{path}", "audio", "video") as stream:
        settings = {track.kind: track.get_settings() for track in stream.get_tracks()}
        assert settings["video"]["codec"] == "h264" and settings["audio"]["codec"] == "aac"
        recorder = recsvc.MediaRecorder(stream)
        recorder.start()
        begun_s = time.monotonic()
        recorder.wait("stop", DEADLINE_S)
        assert time.monotonic() - begun_s > 1.2  # in real time
        assert recorder.recording.type == "video/x-matroska;codecs=avc1,mp4a.40.2"
        data, tracks = recorder.recording.bytes(), by_kind(recorder.statistics())
    for kind in ("audio", "video"):
        assert_copied(data, str(path), kind)
        assert not tracks[kind].frames_dropped


def headers(sender: HeldPacketSender, route: str) -> list[Any]:
    """What a route that is not open yet keeps."""
    sender._routes[route].flush()
    return [messages.DATA.decode(kept[0]) for kept in sender._routes[route]._backlog]


def test_a_packet_that_waited_for_the_end_of_a_pause_follows_the_one_before() -> None:
    sender = HeldPacketSender("wait")
    for route in ("a", "b"):
        sender.prepare(route, 0, 100, 1 << 20)
    packets = [Packet(at, b"data") for at in range(6)]
    assert sender.send(packets[0])
    for route in ("a", "b"):
        sender.pause(route, S)
    assert not sender.send(packets[1])  # it is held: nobody wants it
    sender.resume("a", 2 * S)
    for packet in packets[1:4]:
        assert sender.send(packet)
    sender.resume("b", 3 * S)
    for packet in packets[4:]:
        assert sender.send(packet)
    assert [one.captured_ns for one in headers(sender, "a")] == [0, 1, 2, 3, 4, 5]
    assert all(one.follows for one in headers(sender, "a"))
    assert [(one.captured_ns, one.follows) for one in headers(sender, "b")] == [(0, True), (4, False), (5, True)]


@pytest.mark.parametrize("follows", [True, False])
def test_after_a_pause_no_key_frame_is_awaited_where_nothing_is_missing(
    follows: bool, bench: Bench, tmp_path: Path
) -> None:
    made = encoded.pictures("h264 plain")
    settings = {"codec": "h264", "description": made.description, "width": 160, "height": 120, "clock": "media"}
    track = messages.RecordedTrack(track="video", kind="video", captured=True, settings=settings)
    bench.worker._do(
        messages.OpenRecording(
            recording="a", path=str(tmp_path / "a.mkv"), tracks=(track,), routes=("a/video",),
            options=messages.RecordingOptions(mime_type="", audio_bits_per_second=0, video_bits_per_second=0),
            at_ns=time.monotonic_ns(),
        )
    )  # fmt: skip
    for number, packet in enumerate(made.packets):
        header = messages.PacketFrame(
            route="a/video", sequence=number, captured_ns=packet.at_ns, key_frame=packet.is_key,
            paused_ns=S if number >= 15 else 0, follows=follows,
        )  # fmt: skip
        bench.give(header, packet.data)
    bench.give(messages.End(route="a/video", count=50, until_ns=0))
    bench.work()
    [track] = bench.finished("a").statistics.tracks
    assert track.dropped_by_cause == ({} if follows else {"awaiting_key_frame": 5})


def test_raw_sound_beside_encoded_pictures_of_one_address(tmp_path: Path) -> None:
    path = tmp_path / "source.mkv"
    encoded.put_into(str(path), encoded.film("h264"), encoded.tone("aac"))
    source = f"file:{path}?pace=max"
    with recsvc.get_user_media(audio=source, video={"source": source, "encoded": True}) as stream:
        recorder = recsvc.MediaRecorder(stream)
        recorder.start()
        recorder.wait("stop", DEADLINE_S)
        assert recorder.recording.type == "video/x-matroska;codecs=avc1,opus"
        assert_copied(recorder.recording.bytes(), str(path), "video")
        assert by_kind(recorder.statistics())["audio"].frames_encoded == pytest.approx(96_000, abs=2048)


def test_what_a_file_does_not_hold_is_refused_before_anything_is_recorded(tmp_path: Path) -> None:
    path = tmp_path / "source.mp4"
    encoded.put_into(str(path), encoded.film("h264"))
    with open_encoded(f"file:{path}", "video") as stream:
        for mime_type in ("video/webm", "video/x-matroska;codecs=hvc1"):
            recorder = recsvc.MediaRecorder(stream, mime_type=mime_type)
            with pytest.raises(recsvc.errors.NotSupportedError, match="video track.*h264.*which .* does not hold"):
                recorder.start()
            assert recorder.state == "inactive"


@pytest.mark.parametrize(
    ("codec", "reason"), [("mpeg4", "its video is mpeg4, and can be recorded as it is only where it is vp8, vp9")]
)
def test_a_codec_that_no_file_holds_is_refused_by_name(codec: str, reason: str, tmp_path: Path) -> None:
    path = tmp_path / "source.mkv"
    with av.open(str(path), "w") as output:
        stream = output.add_stream(codec, 25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        output.mux(stream.encode(av.VideoFrame(64, 48, "yuv420p")))
        output.mux(stream.encode(None))
    with pytest.raises(recsvc.errors.NotSupportedError, match=reason):
        open_source(f"file:{path}", None, ENCODED)


def test_what_is_encrypted_ends_its_track_with_the_reason(bench: Bench, tmp_path: Path) -> None:
    """Its packets look like others, but nobody could play the recording."""
    path = tmp_path / "source.mp4"
    key = {"encryption_scheme": "cenc-aes-ctr", "encryption_key": "00" * 16, "encryption_kid": "01" * 16}
    encoded.put_into(str(path), encoded.film("h264"), **key)
    opened, sink = open_source(f"file:{path}?pace=max", None, ENCODED), Feeding(bench, "a/video")
    opened.start({"video": sink})
    assert sink.over.wait(DEADLINE_S) and not sink.packets
    assert isinstance(sink.error, recsvc.errors.NotReadableError) and "is encrypted" in str(sink.error)
    opened.close()


@pytest.mark.parametrize("source", ["test:", "mic:", "screen:"])
def test_sources_of_raw_media_cannot_be_copied(source: str) -> None:
    kind = 0 if source == "mic:" else 1
    with pytest.raises(recsvc.errors.OverconstrainedError, match="^encoded: ") as caught:
        open_source(source, *[ENCODED if at == kind else None for at in range(2)])
    assert caught.value.constraint == "encoded"


def test_a_live_stream_begins_with_the_key_frame_before_the_start_and_ends_at_the_stop() -> None:
    with mpegts_server() as (url, server), open_encoded(url, "audio", "video") as stream:
        recorder = recsvc.MediaRecorder(stream)
        recorder.start()
        wait_until(lambda: by_kind_now(recorder) > 10, "some pictures")
        server.send_signal(signal.SIGSTOP)  # a sender that stalls for less than the limit
        stalled_s = time.monotonic()
        wait_until(lambda: time.monotonic() > stalled_s + 0.7, "the stall")
        server.send_signal(signal.SIGCONT)
        count = by_kind_now(recorder)
        wait_until(lambda: by_kind_now(recorder) > count + 25, "what it sends then, too")
        recorder.stop()
        recorder.wait("stop", DEADLINE_S)
        data, tracks = recorder.recording.bytes(), by_kind(recorder.statistics())
        assert tracks["video"].frames_prerolled and not tracks["video"].dropped_by_cause
        found = demuxed(io.BytesIO(data), "video")
        assert len(found) == tracks["video"].frames_encoded
        assert found[0].is_key and found[0].at_ns == 0
        assert {round((b.at_ns - a.at_ns) / MS) for a, b in zip(found, found[1:], strict=False)} == {40}
        with av.open(io.BytesIO(data)) as container:
            assert len(list(container.decode(video=0))) == len(found)
        # The next one, of the same stream, begins with another key frame; a sender that goes ends it without error.
        recorder.start()
        wait_until(lambda: by_kind_now(recorder) > 10, "some pictures")
        server.kill()
        recorder.wait("stop", DEADLINE_S)
        assert demuxed(io.BytesIO(recorder.recording.bytes()), "video")[0].is_key
        with pytest.raises(TimeoutError):
            recorder.wait("error", 0)


def test_without_preroll_nothing_older_than_the_start_is_recorded(tmp_path: Path) -> None:
    path = tmp_path / "source.mkv"
    encoded.put_into(str(path), encoded.film("h264 plain"))
    with open_encoded(f"file:{path}", "video", preroll=0) as stream:
        recorder = recsvc.MediaRecorder(stream)
        recorder.start()  # a moment after the file's first key frame
        recorder.wait("stop", DEADLINE_S)
        [track] = recorder.statistics().tracks
        found = demuxed(io.BytesIO(recorder.recording.bytes()), "video")
    assert track.frames_prerolled == 0 and track.dropped_by_cause["awaiting_key_frame"] > 0
    assert found[0].is_key and len(found) <= 40
    assert found[0].units in [one.units for one in demuxed(str(path), "video")[10::10]]


def by_kind_now(recorder: recsvc.MediaRecorder) -> int:
    return max((track.frames_encoded for track in recorder.statistics().tracks if track.kind == "video"), default=0)


def test_pauses_pieces_and_a_stop_in_the_midst_cut_between_packets(tmp_path: Path) -> None:
    path = tmp_path / "source.mkv"
    encoded.put_into(str(path), encoded.film("h264 plain", 270), encoded.tone("opus", 10.8))
    with open_encoded(f"file:{path}", "audio", "video") as stream:
        recorder = recsvc.MediaRecorder(stream)
        blobs: list[recsvc.Blob] = []
        recorder.ondataavailable = lambda event: blobs.append(event.data)
        recorder.start(200)
        wait_until(lambda: by_kind_now(recorder) > 12, "some pictures")
        recorder.request_data()
        recorder.pause()
        paused_s = time.monotonic()
        wait_until(lambda: time.monotonic() > paused_s + 0.3, "what is left out")
        recorder.resume()
        wait_until(lambda: by_kind_now(recorder) > 30, "more")
        recorder.stop()
        recorder.wait("stop", DEADLINE_S)
        tracks = by_kind(recorder.statistics())
    assert len(blobs) >= 3
    data = b"".join(blob.bytes() for blob in blobs)
    assert_plays(data, tracks["video"].frames_encoded)
    found, whole = demuxed(io.BytesIO(data), "video"), demuxed(str(path), "video")
    assert len(found) == tracks["video"].frames_encoded
    places = [[one.units for one in whole].index(one.units) for one in found]
    cuts = [at for at, (a, b) in enumerate(zip(places, places[1:], strict=False)) if b != a + 1]
    [cut] = cuts  # the pause, and nothing else; what follows it begins with a key frame
    assert found[cut + 1].is_key and places[0] == 0
    assert found[cut + 1].at_ns - found[cut].at_ns < 0.6 * S
    sound = demuxed(io.BytesIO(data), "audio")
    assert len(sound) == tracks["audio"].frames_encoded
    assert abs(sound[-1].at_ns - found[-1].at_ns) < 0.3 * S


def test_the_command_line_copies_and_says_packets(tmp_path: Path) -> None:
    source, path = tmp_path / "source.mkv", tmp_path / "out.mkv"
    encoded.put_into(str(source), encoded.film("h264 plain"), encoded.tone("opus"))
    wish = ["--copy", "--audio", f"file:{source}?pace=max", "--video", f"file:{source}?pace=max"]
    done = run("record", *wish, "-o", path)
    assert done.returncode == 0, done.stderr
    assert "50 packets captured, 50 copied, 0 dropped" in done.stdout
    for kind in ("audio", "video"):
        assert_copied(path.read_bytes(), str(source), kind)
    refused = run("record", *wish, "-o", tmp_path / "out.webm")
    assert refused.returncode == 1 and "h264" in refused.stderr and "video/webm" in refused.stderr
    assert not (tmp_path / "out.webm").exists()
    refused = run_inside("record", "--copy", "--audio", "file:x", "--sample-rate", 8000)
    assert refused.returncode == 2 and "sample_rate: 8000" in refused.stderr
