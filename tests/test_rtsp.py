"""Cameras on the network: a real RTSP server, whose packets are known, recorded as they come and encoded anew."""

from __future__ import annotations

import functools
import io
import itertools
import json
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import av
import encoded
import pytest
from fixtures_media import KeepingSink, wait_until

import recsvc
from recsvc.capture import ffmpeg
from recsvc.capture.opening import open_source
from recsvc.errors import NotReadableError
from recsvc.mux.bitstream import h264_type, h265_type, split_annex_b, split_lengths

S = 1_000_000_000
MS = 1_000_000
DEADLINE_S = 30.0
PROGRAM = Path(__file__).with_name("rtsp_camera.py")
FILMS = {"whole": "h264 whole", "sliced": "h264 sliced"}


def packets_of(name: str) -> list[bytes]:
    return [packet.data for packet in encoded.pictures(name, annex_b=True).packets]


def sound_of(codec: str) -> list[bytes]:
    return [packet.data for packet in encoded.sound(codec).packets]


@functools.cache
def cameras() -> dict[str, dict[str, list[bytes]]]:
    """By name, what their tracks are, and the packets of each."""
    opus = sound_of("opus")[:100]  # as long as the film, after which both begin anew
    return {
        **{name: {"h264": packets_of(film), "opus": opus} for name, film in FILMS.items()},
        "h265": {"h265": packets_of("h265 sliced"), "aac": sound_of("aac")},
        "vp8": {"vp8": packets_of("vp8"), "ulaw": sound_of("ulaw")},
        "vp9": {"vp9": packets_of("vp9"), "alaw": sound_of("alaw")},
    }


def slices(units: list[bytes]) -> tuple[bytes, ...]:
    """What is shown: a sender repeats parameter sets where it likes."""
    return tuple(unit for unit in units if h264_type(unit) in (1, 5))


def slices_of_h265(packet: bytes) -> tuple[bytes, ...]:
    return tuple(unit for unit in split_annex_b(packet) if h265_type(unit) < 32)


def film(name: str) -> list[tuple[bytes, ...]]:
    return [slices(split_annex_b(packet)) for packet in packets_of(FILMS[name])]


class Server:
    """GStreamer's RTSP server in a process of its own."""

    def __init__(self, directory: Path) -> None:
        files: dict[str, list[tuple[str, str]]] = {}
        for name, tracks in cameras().items():
            for form, packets in tracks.items():
                path = directory / f"{name}.{form}"
                path.write_bytes(b"".join(len(one).to_bytes(4, "little") + one for one in packets))
                files.setdefault(name, []).append((form, str(path)))
        self._cameras = json.dumps(files)
        self._place = socket.socket()  # keeps the port from others while no server listens
        self._place.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._place.bind(("127.0.0.1", 0))
        self._port: int = self._place.getsockname()[1]
        self.process = self._started()

    def _started(self) -> subprocess.Popen[str]:
        words = ["/usr/bin/python3", str(PROGRAM), str(self._port), self._cameras]
        process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        assert process.stdout.readline().strip() == str(self._port), "no server; is python3-gi installed?"
        return process

    def url(self, camera: str) -> str:
        return f"rtsp://127.0.0.1:{self._port}/{camera}"

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()

    def close(self) -> None:
        self.kill()
        self._place.close()

    def start_again(self) -> None:
        self.process = self._started()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    made = Server(tmp_path_factory.mktemp("cameras"))
    yield made
    made.close()


class Found(NamedTuple):
    data: Any  # slices, or a packet of sound
    at_ns: int
    is_key: bool


def demuxed(data: bytes, kind: str) -> list[Found]:
    """The packets of a track as libavformat finds them."""
    found = []
    with av.open(io.BytesIO(data)) as container:
        for packet in container.demux(next(stream for stream in container.streams if stream.type == kind)):
            if packet.size:
                what = slices(split_lengths(bytes(packet), 4)) if kind == "video" else bytes(packet)
                found.append(Found(what, round(packet.pts * packet.time_base * S), bool(packet.is_keyframe)))
    return found


def assert_sent(found: list[Any], sent: list[Any]) -> int:
    """They are what was sent, one after the other, from some place of the film on, which is returned."""
    assert found[0] in sent
    begin = sent.index(found[0])
    assert found == [sent[at % len(sent)] for at in range(begin, begin + len(found))]
    return begin


def assert_copied(data: bytes, camera: str, tracks: dict[str, Any]) -> None:
    pictures, sound = demuxed(data, "video"), demuxed(data, "audio")
    assert len(pictures) == tracks["video"].frames_encoded and len(sound) == tracks["audio"].frames_encoded
    first_picture = assert_sent([one.data for one in pictures], film(camera))
    first_sound = assert_sent([one.data for one in sound], cameras()[camera]["opus"])
    assert pictures[0].is_key
    assert {round((b.at_ns - a.at_ns) / MS) for a, b in itertools.pairwise(pictures)} == {40}
    # Pictures and sound that were sent together stand together.
    apart_ns = (pictures[0].at_ns - first_picture * 40 * MS) - (sound[0].at_ns - first_sound * 20 * MS)
    assert abs((apart_ns + S) % (2 * S) - S) <= 5 * MS
    with av.open(io.BytesIO(data)) as container:
        assert len(list(container.decode(video=0))) == len(pictures)


def by_kind(recorder: recsvc.MediaRecorder) -> dict[str, Any]:
    tracks = recorder.statistics().tracks
    assert all(track.frames_accepted >= track.frames_encoded + track.frames_dropped for track in tracks)
    return {track.kind: track for track in tracks}


def pictures_of(recorder: recsvc.MediaRecorder) -> int:
    return int(by_kind(recorder)["video"].frames_encoded)


def all_opened(openings: list[Callable[[], Any]]) -> list[Any]:
    """Each takes a second, in which FFmpeg waits to see what a stream has."""
    with ThreadPoolExecutor() as pool:
        return list(pool.map(lambda opening: opening(), openings))


def opened(url: str, **wish: Any) -> recsvc.MediaStream:
    wishes = {"source": url, **wish}
    return recsvc.get_user_media(audio=wishes, video=wishes)


def test_a_camera_that_stalls_goes_away_and_comes_back(server: Server) -> None:
    url = server.url("whole")
    copied, raw = all_opened([lambda: opened(url, encoded=True), lambda: opened(url)])
    with copied, raw:
        recorders = [recsvc.MediaRecorder(copied), recsvc.MediaRecorder(raw)]
        for recorder in recorders:
            recorder.start()
        wait_until(lambda: all(pictures_of(one) > 10 for one in recorders), "some pictures")
        server.process.send_signal(signal.SIGSTOP)
        stalled_s = time.monotonic()
        wait_until(lambda: time.monotonic() > stalled_s + 0.7, "the stall")
        server.process.send_signal(signal.SIGCONT)
        counts = [pictures_of(one) for one in recorders]
        wait_until(
            lambda: all(pictures_of(one) > count + 25 for one, count in zip(recorders, counts, strict=True)),
            "what is sent then, too",
        )
        server.kill()
        for recorder in recorders:
            recorder.wait("stop", DEADLINE_S)
            with pytest.raises(TimeoutError):
                recorder.wait("error", 0)
        tracks = [by_kind(recorder) for recorder in recorders]
        assert_copied(recorders[0].recording.bytes(), "whole", tracks[0])
        assert not any(track.frames_dropped for track in tracks[0].values())
        pictures, sound = tracks[1]["video"], tracks[1]["audio"]
        assert not pictures.frames_dropped and pictures.frames_encoded >= 35
        assert sound.frames_encoded / 48_000 == pytest.approx(pictures.frames_encoded / 25, abs=0.2)
    server.start_again()
    with opened(url, encoded=True) as copied:
        recorder = recsvc.MediaRecorder(copied)
        recorder.start()
        wait_until(lambda: pictures_of(recorder) > 10, "some pictures")
        recorder.stop()
        recorder.wait("stop", DEADLINE_S)
        assert_copied(recorder.recording.bytes(), "whole", by_kind(recorder))


def test_a_key_frame_that_is_sent_in_slices_is_one_picture(server: Server) -> None:
    url = server.url("sliced")
    sources = all_opened([lambda: open_source(url, None, {"encoded": True}), lambda: open_source(url, None, {})])
    sinks = [KeepingSink() for _ in sources]
    for source, sink in zip(sources, sinks, strict=True):
        source.start({"video": sink})
    try:
        wait_until(lambda: len(sinks[0].packets) > 25 and len(sinks[1].pictures) > 25, "two key frames")
    finally:
        for source in sources:
            source.close()
    sent = film("sliced")
    packets = sinks[0].packets[sinks[0].packets[0].damaged :]  # the first may have come from its midst on
    assert all(len(one) > 1 for one in sent)
    assert_sent([slices(split_annex_b(packet.payload)) for packet in packets], sent)
    assert {round((b.captured_ns - a.captured_ns) / MS) for a, b in itertools.pairwise(packets)} == {40}
    # Those that are encoded anew are decoded whole as well.
    with av.open(io.BytesIO(encoded.film(FILMS["sliced"]))) as container:
        shown = [frame.to_ndarray().tobytes() for frame in container.decode(video=0)]
    assert_sent([bytes(one.picture) for one in sinks[1].pictures], shown)


def test_packets_of_every_codec_that_rtp_has_are_those_that_were_sent(server: Server) -> None:
    names = ("h265", "vp8", "vp9")
    both = {"encoded": True}
    sources = all_opened([functools.partial(open_source, server.url(name), both, both) for name in names])
    sinks = [{"audio": KeepingSink(), "video": KeepingSink()} for _ in names]
    for source, of_source in zip(sources, sinks, strict=True):
        source.start(of_source)
    try:
        wait_until(lambda: all(len(one["video"].packets) > 25 for one in sinks), "two key frames")
    finally:
        for source in sources:
            source.close()
    for camera, of_source in zip(names, sinks, strict=True):
        (form, pictures), (_, sound) = cameras()[camera].items()
        found = [packet.payload for packet in of_source["video"].packets]
        if form == "h265":
            assert_sent([slices_of_h265(one) for one in found], [slices_of_h265(one) for one in pictures])
        else:
            assert_sent(found, pictures)
        assert_sent([packet.payload for packet in of_source["audio"].packets], sound)
        keys = [at for at, packet in enumerate(of_source["video"].packets) if packet.key_frame]
        assert keys[0] < 10 and {b - a for a, b in itertools.pairwise(keys)} == {10}
        assert not any(packet.damaged for one in of_source.values() for packet in one.packets)


def test_a_camera_that_stalls_for_long_is_over_when_its_error_says(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ffmpeg, "SOURCE_READ_NS", S)
    url, sinks = server.url("whole"), [KeepingSink(), KeepingSink()]
    sources = all_opened([lambda: open_source(url, None, {"encoded": True}), lambda: open_source(url, None, {})])
    for source, sink in zip(sources, sinks, strict=True):
        source.start({"video": sink})
    wait_until(lambda: all(sink.packets or sink.pictures for sink in sinks), "the first pictures")
    server.process.send_signal(signal.SIGSTOP)
    begun_ns = time.monotonic_ns()
    try:
        wait_until(lambda: all(sink.ends for sink in sinks), "the end of the stalled stream")
    finally:
        server.process.send_signal(signal.SIGCONT)
    for source, sink in zip(sources, sinks, strict=True):
        [(ended_ns, error)] = sink.ends
        assert isinstance(error, NotReadableError) and "nothing came for 1 s" in str(error)
        assert 0.9 * S < ended_ns - begun_ns < 1.7 * S
        source.close()
        assert not sink.after_end
