"""Media that comes encoded is recorded as it is: what went in, packet by packet, is what other programs read."""

from __future__ import annotations

import asyncio
import io
import json
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import encoded
import media
import pytest
from encoded import Encoded, Packet
from fixtures_media import program
from worker_bench import Bench, S, accounted

import recsvc
from recsvc import aio
from recsvc.mux.bitstream import split_annex_b, split_lengths
from recsvc.mux.codec_private import form_of
from recsvc.mux.muxer import Muxer
from recsvc.mux.packets import SoundPacket, VideoPacket
from recsvc.mux.recover import complete
from recsvc.mux.spool import CopiedEntry
from recsvc.wire import messages

pytest_plugins = ["worker_bench"]

MS = 1_000_000
DEADLINE_S = 30.0
VIDEO = ["h264", "h264 open", "h264 plain", "h265", "av1", "vp8", "vp9"]


def video_source(made: Encoded, *, out_of_band: bool = False, **given: Any) -> recsvc.EncodedVideoSource:
    description = made.description if out_of_band else None
    given = {"clock": "media", "when_full": "wait", **given}
    return recsvc.EncodedVideoSource(made.codec, 160, 120, description=description, **given)


def audio_source(made: Encoded, *, adts: bool = False) -> recsvc.EncodedAudioSource:
    form = (48_000, 2) if made.codec in ("opus", "aac") else (8_000, 1)
    description = made.description if made.description and not adts else None
    return recsvc.EncodedAudioSource(made.codec, *form, description=description, clock="media", when_full="wait")


def record(
    *tracks: recsvc.MediaStreamTrack, write: Callable[[recsvc.MediaRecorder], None], mime_type: str = "", **options: Any
) -> tuple[bytes, recsvc.RecordingStatistics, str]:
    """What ``write`` brings: the file, what became of it, its type."""
    with recsvc.MediaRecorder(recsvc.MediaStream(tracks), mime_type=mime_type) as recorder:
        recorder.start(**options)
        write(recorder)
        recorder.stop()
        recorder.wait("stop", DEADLINE_S)
        events = [event for event in recorder.events() if isinstance(event, recsvc.BlobEvent)]
        data = b"".join(event.data.bytes() for event in events)
        statistics = events[-1].data.statistics if hasattr(events[-1].data, "statistics") else recorder.statistics()
        return data, statistics, events[-1].data.type


def read(data: bytes, kind: str = "video") -> tuple[list[Packet], bytes]:
    """The packets of a track as libavformat finds them, and its private data."""
    with av.open(io.BytesIO(data)) as container:
        [stream] = [stream for stream in container.streams if stream.type == kind]
        private = bytes(stream.codec_context.extradata or b"")
        found = [
            Packet(bytes(packet), round(packet.pts * packet.time_base * S), bool(packet.is_keyframe))
            for packet in container.demux(stream)
            if packet.size
        ]
    return found, private


def assert_found_well(data: bytes, directory: Path) -> None:
    """mkvtoolnix and FFmpeg have nothing to say against the file."""
    path = directory / "file.mkv"
    path.write_bytes(data)
    info = _said(program("mkvinfo"), "--all", str(path))
    assert "error" not in info.lower() and "warning" not in info.lower(), info
    identified = json.loads(_said(program("mkvmerge"), "-J", str(path)))
    assert not identified["errors"] and not identified["warnings"]
    done = subprocess.run(
        [program("ffmpeg"), "-v", "warning", "-xerror", "-i", str(path), "-f", "null", "-"],
        capture_output=True,
        timeout=60,
    )
    problems = [line for line in done.stderr.splitlines() if not line.startswith(b"Guessed Channel Layout")]
    assert done.returncode == 0 and not problems


def _said(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout


def shown(data: bytes) -> list[float]:
    """When each decoded picture is shown, in ms."""
    with av.open(io.BytesIO(data)) as container:
        return [round(float(frame.time) * 1000) for frame in container.decode(video=0)]


# --- packets in are packets out -------------------------------------------------------------------


@pytest.mark.parametrize("name", VIDEO)
@pytest.mark.parametrize("out_of_band", [False, True], ids=["in band", "out of it"])
def test_pictures_are_the_packets_that_came_with_their_times(name: str, out_of_band: bool, tmp_path: Path) -> None:
    made = encoded.pictures(name, annex_b=not out_of_band)
    source = video_source(made, out_of_band=out_of_band and bool(made.description))

    def write(_: recsvc.MediaRecorder) -> None:
        for packet in made.packets:
            assert source.write(packet.data, packet.at_ns)

    data, statistics, _ = record(source.track, write=write)
    found, private = read(data)
    assert len(found) == len(made.packets)
    for ours, theirs in zip(found, made.packets, strict=True):
        if made.codec in ("h264", "h265") and not out_of_band:
            assert split_lengths(ours.data, 4) == split_annex_b(theirs.data)
        else:
            assert ours.data == theirs.data
        assert (ours.at_ns, ours.is_key) == (theirs.at_ns, theirs.is_key)
    if out_of_band and made.codec not in ("vp8", "vp9"):
        assert private == made.description
    [track] = statistics.tracks
    assert accounted(track) == (50, 50, 0) and not track.timestamps_corrected
    assert statistics.duration == 2.0
    assert shown(data) == [number * 40 for number in range(50)]
    assert_found_well(data, tmp_path)


@pytest.mark.parametrize(
    ("codec", "adts"),
    [("opus", False), ("aac", False), ("aac", True), ("pcm", False), ("alaw", False), ("ulaw", False)],
)
def test_sound_is_the_packets_that_came(codec: str, adts: bool, tmp_path: Path) -> None:
    made = encoded.sound(codec, adts=adts)
    source = audio_source(made, adts=adts)

    def write(_: recsvc.MediaRecorder) -> None:
        for packet in made.packets:
            assert source.write(packet.data, packet.at_ns)

    data, statistics, _ = record(source.track, write=write)
    found, _ = read(data, "audio")
    bare = encoded.sound("aac").packets if adts else made.packets
    assert [one.data for one in found] == [one.data for one in bare]
    [track] = statistics.tracks
    assert accounted(track) == (len(bare), len(bare), 0) and not track.timestamps_corrected
    offset_ns = found[0].at_ns - bare[0].at_ns
    assert all(abs(ours.at_ns - theirs.at_ns - offset_ns) <= MS for ours, theirs in zip(found, bare, strict=True))
    assert_found_well(data, tmp_path)


def test_raw_sound_beside_encoded_pictures_keeps_its_place() -> None:
    made = encoded.pictures("h264", annex_b=True)
    pictures = video_source(made)
    sound = recsvc.AudioSource(48_000, 1, clock="media", when_full="wait")

    def write(_: recsvc.MediaRecorder) -> None:
        for number, packet in enumerate(made.packets):
            pictures.write(packet.data, packet.at_ns)
            sound.write(b"\1\0" * 1920, number * 40 * MS)

    data, statistics, mime_type = record(pictures.track, sound.track, write=write)
    assert mime_type == "video/x-matroska;codecs=avc1,opus"
    assert statistics.duration == 2.0
    decoded = media.decode(recsvc.Blob([data]))
    assert len(decoded.samples) == 96_000 and [round(at * 1000) for at in decoded.times] == shown(data)
    assert {accounted(track) for track in statistics.tracks} == {(50, 50, 0), (96_000, 96_000, 0)}


def test_encoded_sound_beside_raw_pictures_is_webm() -> None:
    made = encoded.sound("opus")
    sound = audio_source(made)
    pictures = recsvc.VideoSource(160, 120, clock="media", when_full="wait")

    def write(_: recsvc.MediaRecorder) -> None:
        for number, packet in enumerate(made.packets):
            sound.write(packet.data, packet.at_ns)
            if number % 2 == 0:
                pictures.write(bytes(160 * 120 * 3 // 2), packet.at_ns)

    data, _, mime_type = record(pictures.track, sound.track, write=write)
    assert mime_type == "video/webm;codecs=vp8,opus"
    assert [one.data for one in read(data, "audio")[0]] == [one.data for one in made.packets]
    assert len(shown(data)) == (len(made.packets) + 1) // 2


def test_stamps_of_our_clock_are_kept_for_pictures_out_of_order() -> None:
    made = encoded.pictures("h264", annex_b=True)
    source = video_source(made, clock="monotonic")

    def write(_: recsvc.MediaRecorder) -> None:
        now_ns = time.monotonic_ns()
        for packet in made.packets:
            source.write(packet.data, now_ns + packet.at_ns)

    data, statistics, _ = record(source.track, write=write)
    assert shown(data) == [number * 40 for number in range(50)]
    assert accounted(statistics.tracks[0]) == (50, 50, 0) and not statistics.tracks[0].timestamps_corrected


def test_asyncio_has_the_same_sources() -> None:
    made, tone = encoded.pictures("vp8"), encoded.sound("opus")

    async def run() -> bytes:
        pictures = aio.EncodedVideoSource("vp8", 160, 120, clock="media", when_full="wait")
        sound = aio.EncodedAudioSource("opus", clock="media")
        async with aio.MediaRecorder(aio.MediaStream([pictures.track, sound.track])) as recorder:
            await recorder.start()
            for packet in made.packets:
                assert await pictures.write(packet.data, packet.at_ns, key_frame=packet.is_key)
            for packet in tone.packets:
                assert await sound.write(packet.data, packet.at_ns, key_frame=packet.is_key)
            await recorder.stop()
            return (await recorder.wait("dataavailable", DEADLINE_S)).data.bytes()

    data = asyncio.run(run())
    assert [one.data for one in read(data)[0]] == [one.data for one in made.packets]
    assert [one.data for one in read(data, "audio")[0]] == [one.data for one in tone.packets]


# --- key frames -----------------------------------------------------------------------------------


def left_out(statistics: recsvc.RecordingStatistics) -> dict[str, int]:
    [track] = statistics.tracks
    assert track.frames_accepted == track.frames_encoded + track.frames_dropped
    return track.dropped_by_cause


def test_a_recording_begins_with_a_key_frame_and_so_does_what_follows_a_pause() -> None:
    made = encoded.pictures("h264 plain", annex_b=True)
    source = video_source(made)

    def write(recorder: recsvc.MediaRecorder) -> None:
        for number, packet in enumerate(made.packets[3:], 3):
            if number == 25:
                recorder.pause()
                assert not source.write(packet.data, packet.at_ns)
                recorder.resume()
            else:
                assert source.write(packet.data, packet.at_ns)

    data, statistics, _ = record(source.track, write=write)
    kept = [*range(10, 25), *range(30, 50)]
    found, _ = read(data)
    assert [split_lengths(one.data, 4) for one in found] == [split_annex_b(made.packets[at].data) for at in kept]
    assert left_out(statistics) == {"awaiting_key_frame": 7 + 4}
    assert len(shown(data)) == len(kept)


def test_pictures_that_refer_to_some_before_the_first_key_frame_are_left_out() -> None:
    made = encoded.pictures("h264 open")
    begin = next(at for at, one in enumerate(made.packets) if one.is_key and at)
    leading = [one for one in made.packets[begin + 1 :] if one.at_ns < made.packets[begin].at_ns]
    assert leading
    source = video_source(made, out_of_band=True)

    def write(_: recsvc.MediaRecorder) -> None:
        for packet in made.packets[begin:]:
            source.write(packet.data, packet.at_ns)

    data, statistics, _ = record(source.track, write=write)
    assert left_out(statistics) == {"awaiting_key_frame": len(leading)}
    assert len(read(data)[0]) == len(shown(data)) == len(made.packets) - begin - len(leading)
    assert shown(data)[0] == 0


def test_sound_does_not_wait_for_pictures_without_a_key_frame() -> None:
    made = encoded.pictures("h264 plain", annex_b=True)
    pictures, sound = video_source(made), recsvc.AudioSource(48_000, 1, clock="media", when_full="wait")

    def write(_: recsvc.MediaRecorder) -> None:
        for number in range(1, 10):
            pictures.write(made.packets[number].data, number * 40 * MS)
            sound.write(b"\1\0" * 1920, number * 40 * MS)

    data, statistics, _ = record(pictures.track, sound.track, write=write)
    assert statistics.tracks[0].dropped_by_cause == {"awaiting_key_frame": 9}
    assert statistics.tracks[1].frames_encoded == 9 * 1920
    with av.open(io.BytesIO(data)) as container:
        assert sum(frame.samples for frame in container.decode(audio=0)) == 9 * 1920


@pytest.mark.parametrize("junk", [b"\xff" * 40, bytes(40)], ids=["ones", "zeros"])
@pytest.mark.parametrize("name", ["h264 plain", "vp8", "vp9"])
def test_what_is_no_packet_is_left_out_with_all_that_needs_it(name: str, junk: bytes) -> None:
    made = encoded.pictures(name, annex_b=True)
    source = video_source(made)

    def write(_: recsvc.MediaRecorder) -> None:
        for number, packet in enumerate(made.packets):
            damaged = number == 14
            source.write(junk if damaged else packet.data, packet.at_ns, key_frame=packet.is_key)

    data, statistics, _ = record(source.track, write=write)
    causes = left_out(statistics)
    following = next(at for at in range(15, 50) if made.packets[at].is_key) - 15
    assert causes == {"damaged": 1, "awaiting_key_frame": following}
    assert len(shown(data)) == 50 - 1 - following


def test_what_is_muted_is_left_out_and_goes_on_with_a_key_frame() -> None:
    made = encoded.pictures("vp8")
    source = video_source(made)

    def write(_: recsvc.MediaRecorder) -> None:
        for number, packet in enumerate(made.packets):
            source.muted = number in (12, 13)
            source.write(packet.data, packet.at_ns)

    data, statistics, _ = record(source.track, write=write)
    next_key = next(at for at in range(14, 50) if made.packets[at].is_key)
    assert left_out(statistics) == {"muted": 2, "awaiting_key_frame": next_key - 14}
    assert len(shown(data)) == 50 - 2 - (next_key - 14)


def packet_of(route: str, number: int, packet: Packet, begin_ns: int, **fields: Any) -> messages.PacketFrame:
    return messages.PacketFrame(
        route=route, sequence=number, captured_ns=begin_ns + packet.at_ns, key_frame=packet.is_key, **fields
    )


def open_copied(bench: Bench, made: Encoded, directory: Path, **options: Any) -> str:
    """A recording ``a`` of one track of encoded pictures: its route."""
    settings = {"codec": made.codec, "width": 160, "height": 120, "clock": "media"}
    track = messages.RecordedTrack(track="video", kind="video", captured=False, settings=settings)
    given = {"mime_type": "", "audio_bits_per_second": 0, "video_bits_per_second": 500_000, **options}
    bench.worker._do(
        messages.OpenRecording(
            recording="a", path=str(directory / "a.mkv"), tracks=(track,), routes=("a/video",),
            options=messages.RecordingOptions(**given), at_ns=time.monotonic_ns(),
        )
    )  # fmt: skip
    return "a/video"


def test_after_packets_that_their_sender_dropped_a_key_frame_is_awaited(bench: Bench, tmp_path: Path) -> None:
    made = encoded.pictures("h264 plain", annex_b=True)
    route = open_copied(bench, made, tmp_path)
    sent = [at for at in range(50) if at not in (13, 14)]
    for number, at in enumerate(sent):
        dropped = {"queue_full": 2} if at > 14 else {}
        bench.give(packet_of(route, number, made.packets[at], S, dropped=dropped), made.packets[at].data)
    bench.give(messages.End(route=route, count=len(sent), until_ns=3 * S, dropped={"queue_full": 2}))
    bench.work()
    report = bench.finished("a")
    [track] = report.statistics.tracks
    assert track.dropped_by_cause == {"queue_full": 2, "awaiting_key_frame": 5}
    assert accounted(track) == (50, 43, 7)
    assert len(shown(Path(report.whole.path).read_bytes())) == 43


def test_after_packets_that_were_lost_under_way_a_key_frame_is_awaited(bench: Bench, tmp_path: Path) -> None:
    made = encoded.pictures("vp8")
    route = open_copied(bench, made, tmp_path)
    keys = [at for at, one in enumerate(made.packets) if one.is_key]
    missing = keys[1] + 3
    for number, packet in enumerate(made.packets):
        if number != missing:
            bench.give(packet_of(route, number, packet, S), packet.data)
    bench.give(messages.End(route=route, count=50, until_ns=3 * S))
    bench.work()
    [track] = bench.finished("a").statistics.tracks
    following = keys[2] - missing - 1
    assert track.dropped_by_cause == {"lost": 1, "awaiting_key_frame": following}
    assert accounted(track) == (50, 49 - following, 1 + following)


def test_a_packet_on_a_route_for_raw_pictures_is_refused(bench: Bench) -> None:
    bench.open("a", "video")
    bench.give(messages.PacketFrame(route="a/video", sequence=0, captured_ns=S), b"abc")
    assert bench.worker.intake.routes["a/video"].track.account.dropped == {"refused": 1}


@pytest.mark.parametrize("size", [0, 8 * 1024 * 1024 + 1])
def test_a_packet_of_no_possible_size_is_refused(size: int, bench: Bench, tmp_path: Path) -> None:
    route = open_copied(bench, encoded.pictures("vp8"), tmp_path)
    bench.give(messages.PacketFrame(route=route, sequence=0, captured_ns=S), bytes(size))
    assert bench.worker.intake.routes[route].track.account.dropped == {"refused": 1}


# --- pieces and crashes ---------------------------------------------------------------------------


def test_pieces_begin_once_the_parameter_sets_are_known_and_make_up_the_file(bench: Bench, tmp_path: Path) -> None:
    made = encoded.pictures("h264", annex_b=True)
    route = open_copied(bench, made, tmp_path, timeslice_ms=100)
    for number, packet in enumerate(made.packets[1:] * 2):
        bench.give(packet_of(route, number, packet, S), packet.data)
        if number == 5:
            bench.work()
            assert not [one for one in bench.reports() if isinstance(one, messages.DataReady)]
        if number == 48:
            break
    bench.work()
    pieces = [one.blob for one in bench.reports() if isinstance(one, messages.DataReady)]
    assert len(pieces) >= 3 and pieces[0].head
    data = pieces[0].head + Path(pieces[0].path).read_bytes()[pieces[0].start : pieces[-1].end]
    found, private = read(data)
    assert private == encoded.pictures("h264").description
    assert len(found) == len(shown(data)) > 20


@pytest.mark.parametrize("name", ["h264", "h265", "av1", "vp9"])
def test_a_file_that_was_left_behind_is_completed(name: str, tmp_path: Path) -> None:
    made, tone = encoded.pictures(name, annex_b=True), encoded.sound("alaw")
    pictures, sound = form_of(made.codec), form_of("alaw", 8_000, 1)
    path = tmp_path / "left.mkv"
    entry = CopiedEntry(pictures.codec_id, pictures.private, 160, 120)
    audio = CopiedEntry(sound.codec_id, sound.private, sample_rate=8_000, channel_count=1, bits=8)
    muxer = Muxer(path, "matroska", video=entry, audio=audio)
    for number, packet in enumerate(made.packets):
        kept = pictures.repack(packet.data)
        if number == 0:
            muxer.describe(entry._replace(private=pictures.private))
        order_ns = None if name in ("av1", "vp9") else max(packet.at_ns - 160 * MS, 0)
        muxer.write(VideoPacket(kept, packet.at_ns, 40 * MS, packet.is_key, order_ns=order_ns))
        for at in (2 * number, 2 * number + 1):
            muxer.write(SoundPacket(tone.packets[at].data, tone.packets[at].at_ns, 20 * MS))
    muxer.flush()
    muxer.abort()
    with path.open("ab") as torn:
        torn.write(b"\x1f\x43\xb6\x75\x48\0\xe7\x82")
    done = complete(path)
    data = path.read_bytes()
    assert done.duration == pytest.approx(2.0, abs=0.05)
    assert done.mime_type.endswith(",alaw")
    assert len(shown(data)) == 50
    assert [one.data for one in read(data, "audio")[0]] == [one.data for one in tone.packets[:100]]
    assert_found_well(data, tmp_path)


# --- types and arguments --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("codec", "mime_type", "reason"),
    [
        ("h264", "video/webm", "video track.*h264.*video/webm"),
        ("h264", "video/x-matroska;codecs=vp8", "video track.*h264"),
        ("vp8", "video/x-matroska;codecs=avc1", "video track.*vp8"),
        (None, "video/x-matroska;codecs=avc1", "video track is raw.*h264"),
    ],
)
def test_a_type_that_does_not_hold_the_codec_is_refused_at_start(codec: Any, mime_type: str, reason: str) -> None:
    source = recsvc.VideoSource(160, 120) if codec is None else recsvc.EncodedVideoSource(codec, 160, 120)
    recorder = recsvc.MediaRecorder(recsvc.MediaStream([source.track]), mime_type=mime_type)
    with pytest.raises(recsvc.errors.NotSupportedError, match=reason):
        recorder.start()
    assert recorder.state == "inactive"


@pytest.mark.parametrize(
    ("mime_type", "supported"),
    [
        ("video/x-matroska;codecs=avc1,opus", True),
        ("video/x-matroska;codecs=avc1.42E01E,mp4a.40.2", True),
        ('video/x-matroska; codecs="hvc1.1.6.L93.B0,pcm"', True),
        ("video/x-matroska;codecs=hev1", True),
        ("video/webm;codecs=av01.0.04M.08,opus", True),
        ("video/webm;codecs=avc1", False),
        ("video/webm;codecs=av01,vp9", False),
        ("video/x-matroska;codecs=mp4a.69", False),
        ("audio/ogg;codecs=aac", False),
    ],
)
def test_types_by_the_names_that_browsers_write(mime_type: str, supported: bool) -> None:
    assert recsvc.MediaRecorder.is_type_supported(mime_type) is supported


def test_arguments_that_make_no_source() -> None:
    with pytest.raises(recsvc.errors.NotSupportedError, match="theora.*known are vp8"):
        recsvc.EncodedVideoSource("theora", 16, 16)
    with pytest.raises(recsvc.errors.NotSupportedError, match="'opus' of video"):
        recsvc.EncodedVideoSource("opus", 16, 16)
    with pytest.raises(ValueError, match="avcC"):
        recsvc.EncodedVideoSource("avc1.42E01E", 16, 16, description=b"junk")
    with pytest.raises(ValueError, match="OpusHead"):
        recsvc.EncodedAudioSource("opus", 48_000, 6)
    assert recsvc.EncodedVideoSource("vp8", 16, 16).track.get_settings()["codec"] == "vp8"


@pytest.mark.parametrize("kind", ["audio", "video"])
def test_arguments_that_are_no_packet(kind: str) -> None:
    source: Any = recsvc.EncodedAudioSource("opus") if kind == "audio" else recsvc.EncodedVideoSource("vp8", 16, 16)
    for junk, error in ((b"", ValueError), ("text", TypeError), (bytes(8 * 1024 * 1024 + 1), ValueError)):
        with pytest.raises(error):
            source.write(junk)
    with pytest.raises(TypeError, match="key_frame"):
        source.write(b"abc", key_frame=1)
    source.end()
    with pytest.raises(recsvc.errors.InvalidStateError):
        source.write(b"abc")


def test_parameter_sets_that_find_no_room_are_a_clear_error(tmp_path: Path) -> None:
    entry = CopiedEntry("V_MPEG4/ISO/AVC", None, 16, 16)
    muxer = Muxer(tmp_path / "file.mkv", "matroska", video=entry)
    for size in (2037, 2038, 2039, 2040):  # what is left over is a Void, or a longer size
        muxer.describe(entry._replace(private=bytes(size)))
    with pytest.raises(recsvc.errors.EncodingError, match="longer by"):
        muxer.describe(entry._replace(private=bytes(3000)))
    muxer.abort()
