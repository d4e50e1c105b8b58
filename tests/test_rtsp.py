"""Cameras on the network: a real RTSP server, whose packets are known, recorded as they come and encoded anew."""

from __future__ import annotations

import io
import itertools
import json
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
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
from recsvc.mux.bitstream import h264_type, split_annex_b, split_lengths

S = 1_000_000_000
MS = 1_000_000
DEADLINE_S = 30.0
PROGRAM = Path(__file__).with_name("rtsp_camera.py")
FILMS = {"whole": "h264 whole", "sliced": "h264 sliced"}
SOUND = encoded.sound("opus").packets[:100]
"""As long as the film, after which both begin anew."""


def slices(units: list[bytes]) -> tuple[bytes, ...]:
    """What is shown: a sender repeats parameter sets where it likes."""
    return tuple(unit for unit in units if h264_type(unit) in (1, 5))


def film(name: str) -> list[tuple[bytes, ...]]:
    return [slices(split_annex_b(packet.data)) for packet in encoded.pictures(FILMS[name], annex_b=True).packets]


class Server:
    """GStreamer's RTSP server in a process of its own."""

    def __init__(self, directory: Path) -> None:
        cameras: dict[str, dict[str, str]] = {}
        tracks = {f"{name}.h264": encoded.pictures(film, annex_b=True).packets for name, film in FILMS.items()}
        for name, packets in (tracks | {"opus": SOUND}).items():
            data = b"".join(len(one.data).to_bytes(4, "little") + one.data for one in packets)
            (directory / name).write_bytes(data)
        for name in FILMS:
            cameras[name] = {"video": str(directory / f"{name}.h264"), "audio": str(directory / "opus")}
        self._cameras = json.dumps(cameras)
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
    first_sound = assert_sent([one.data for one in sound], [one.data for one in SOUND])
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


def opened(url: str, **wish: Any) -> recsvc.MediaStream:
    wishes = {"source": url, **wish}
    return recsvc.get_user_media(audio=wishes, video=wishes)


def test_a_camera_that_stalls_goes_away_and_comes_back(server: Server) -> None:
    url = server.url("whole")
    with opened(url, encoded=True) as copied, opened(url) as raw:
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
    sources = [open_source(server.url("sliced"), None, wish) for wish in ({"encoded": True}, {})]
    sinks = [KeepingSink() for _ in sources]
    for source, sink in zip(sources, sinks, strict=True):
        source.start({"video": sink})
    try:
        wait_until(lambda: len(sinks[0].packets) > 25 and len(sinks[1].pictures) > 25, "two key frames")
    finally:
        for source in sources:
            source.close()
    sent = film("sliced")
    packets = list(sinks[0].packets)
    assert all(len(one) > 1 for one in sent)
    assert_sent([slices(split_annex_b(packet.payload)) for packet in packets], sent)
    assert {round((b.captured_ns - a.captured_ns) / MS) for a, b in itertools.pairwise(packets)} == {40}
    # Those that are encoded anew are decoded whole as well.
    with av.open(io.BytesIO(encoded.film(FILMS["sliced"]))) as container:
        shown = [frame.to_ndarray().tobytes() for frame in container.decode(video=0)]
    assert_sent([bytes(one.picture) for one in sinks[1].pictures], shown)


@pytest.mark.parametrize("wish", [{"encoded": True}, {}])
def test_a_camera_that_stalls_for_long_is_over_when_its_error_says(
    wish: dict[str, Any], server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ffmpeg, "SOURCE_READ_NS", S)
    source, sink = open_source(server.url("whole"), None, wish), KeepingSink()
    source.start({"video": sink})
    wait_until(lambda: sink.packets or sink.pictures, "the first picture")
    server.process.send_signal(signal.SIGSTOP)
    begun_ns = time.monotonic_ns()
    try:
        wait_until(lambda: sink.ends, "the end of the stalled stream")
    finally:
        server.process.send_signal(signal.SIGCONT)
    [(ended_ns, error)] = sink.ends
    assert isinstance(error, NotReadableError) and "nothing came for 1 s" in str(error)
    assert 0.9 * S < ended_ns - begun_ns < 1.7 * S
    source.close()
    assert not sink.after_end
