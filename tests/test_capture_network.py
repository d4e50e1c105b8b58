"""Network streams: live MPEG-TS over TCP; files over HTTP; what happens when nothing comes."""

import http.server
import signal
import socket
import threading
import time

import pytest
from fixtures_media import KeepingSink, make_file, mpegts_server, wait_until
from pattern import tone_frequency

from recsvc.capture import ffmpeg, running
from recsvc.capture.opening import open_source
from recsvc.errors import NotFoundError, NotReadableError

S = 1_000_000_000
MS = 1_000_000


def start(source):
    sinks = {track.kind: KeepingSink() for track in source.tracks}
    start_ns = time.monotonic_ns()
    source.start(sinks)
    return sinks, start_ns


def test_a_live_stream_is_captured_now_and_flushed_to_the_end(monkeypatch):
    monkeypatch.setattr(ffmpeg, "SOURCE_READ_NS", S)
    with mpegts_server() as (url, server):
        source = open_source(url, {}, {})
        assert [track.kind for track in source.tracks] == ["audio", "video"]
        assert source.tracks[1].settings["width"] == 160
        sinks, start_ns = start(source)
        audio, video = sinks["audio"], sinks["video"]
        wait_until(lambda: len(audio.samples) > 2 * 48_000 * 1.2, "a second of sound")
        until_ns = time.monotonic_ns()
        source.flush(until_ns)
        assert time.monotonic_ns() - until_ns < 0.7 * S
        assert video.pictures[-1].captured_ns > until_ns - 2 * S // 25
        # What was sent before the start is not new, and nothing is from the future.
        assert video.pictures[0].captured_ns >= start_ns
        assert all(p.captured_ns <= p.given_ns for p in video.pictures)
        gaps = [b.captured_ns - a.captured_ns for a, b in zip(video.pictures, video.pictures[1:], strict=False)]
        assert all(abs(gap - S // 25) < 2_000_000 for gap in gaps)
        sounds = audio.sounds
        assert all(
            abs(b.captured_ns - a.captured_ns - len(a.samples) // 2 * S // 48_000) < 3_000_000
            for a, b in zip(sounds, sounds[1:], strict=False)
        )
        assert tone_frequency(audio.samples, 48_000) == pytest.approx(440, abs=1)
        # A sender that hangs ends the tracks within the limit.
        server.send_signal(signal.SIGSTOP)
        wait_until(lambda: audio.ends and video.ends, "the end of the stalled stream", 1.0 + 2.0)
        assert isinstance(audio.ends[0][1], NotReadableError) and "nothing came" in str(audio.ends[0][1])
        source.close()


def test_a_stream_whose_sender_goes_ends_without_error():
    with mpegts_server(seconds=2) as (url, server):
        source = open_source(url, None, {})
        sinks, _ = start(source)
        wait_until(lambda: sinks["video"].pictures, "the first picture")
        server.kill()
        wait_until(lambda: sinks["video"].ends, "the end of the stream", 5.0)
        source.close()
        assert sinks["video"].after_end == 0


@pytest.fixture
def web_server(tmp_path):
    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args, **options):
            super().__init__(*args, directory=str(tmp_path), **options)

        def log_message(self, *args):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", tmp_path
        server.shutdown()
        thread.join(5)


def test_a_file_over_http_plays_in_real_time(web_server):
    address, directory = web_server
    make_file(
        directory / "tone.webm",
        "testsrc=size=64x48:rate=20:duration=0.6",
        "sine=frequency=440:sample_rate=48000:duration=0.6",
        options=("-c:v", "libvpx", "-c:a", "libopus"),
    )
    source = open_source(f"{address}/tone.webm", {}, {})
    sinks, start_ns = start(source)
    wait_until(lambda: all(sink.ends for sink in sinks.values()), "the end of the file")
    source.close()
    assert all(ns - start_ns >= 0.6 * S for sink in sinks.values() for ns, _ in sink.ends)
    assert len(sinks["video"].pictures) == 12
    assert len(sinks["audio"].samples) // 2 == pytest.approx(28_800, abs=960)
    with pytest.raises(NotFoundError):
        open_source(f"{address}/none.webm", {}, {})


def test_a_playlist_from_the_network_opens_no_local_file(web_server):
    address, directory = web_server
    secret = make_file(directory / "secret.ts", "sine=duration=0.2", options=("-c:a", "aac"))
    playlist = f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nfile://{secret}\n#EXT-X-ENDLIST\n"
    (directory / "list.m3u8").write_text(playlist)
    with pytest.raises((NotReadableError, NotFoundError)):
        open_source(f"{address}/list.m3u8", {}, None)


def test_an_address_that_is_silent_is_given_up_in_time(monkeypatch):
    monkeypatch.setattr(ffmpeg, "SOURCE_OPEN_NS", S // 2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        before_s = time.monotonic()
        with pytest.raises(NotReadableError, match=r"within 0\.5 s"):
            open_source(f"tcp://127.0.0.1:{silent.getsockname()[1]}", {}, {})
        assert time.monotonic() - before_s < 3


def test_closing_a_blocked_reader_is_bounded(monkeypatch):
    monkeypatch.setattr(running, "SOURCE_CLOSE_NS", S // 5)
    monkeypatch.setattr(ffmpeg, "SOURCE_READ_NS", 2 * S)
    with mpegts_server() as (url, server):
        source = open_source(url, None, {})
        sinks, _ = start(source)
        wait_until(lambda: sinks["video"].pictures, "the first picture")
        server.send_signal(signal.SIGSTOP)
        time.sleep(0.1)
        before_s = time.monotonic()
        source.close()
        assert time.monotonic() - before_s < 1.5
        wait_until(lambda: not source._thread.is_alive(), "the reader's end", 15.0)
        assert not sinks["video"].ends


@pytest.mark.parametrize(("left", "is_over"), [(1, True), (2, True), (3, False)])
def test_a_read_that_took_too_long_is_a_stall_unless_more_comes_than_parsers_have(monkeypatch, left, is_over):
    """More has come where it was this process that stood still."""
    monkeypatch.setattr(ffmpeg, "SOURCE_READ_NS", 20 * MS)
    monkeypatch.setattr(ffmpeg, "STALL_REST_NS", 50 * MS)
    stalls, ended = [], threading.Event()

    def packets():
        yield "early"
        time.sleep(0.021)
        yield from range(left)
        ended.wait(5 if is_over else 0.1)

    def stalled():
        stalls.append(None)
        ended.set()

    assert list(ffmpeg.watched(packets(), 2, stalled)) == ["early", *range(left)]
    assert bool(stalls) is is_over
