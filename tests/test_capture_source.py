"""Source strings and constraints: what is accepted, what is refused, and with which words."""

import subprocess
import sys
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest
from fixtures_media import make_file

import recsvc
from recsvc.capture.microphone import _find
from recsvc.capture.opening import open_source
from recsvc.common.constraints import plain
from recsvc.common.sources import absolute, parse_source
from recsvc.errors import NotFoundError, OverconstrainedError, RecorderError


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("test:", ("test", "", {})),
        ("test:pattern=counter&seed=7", ("test", "", {"pattern": "counter", "seed": "7"})),
        ("test:?seed=7", ("test", "", {"seed": "7"})),
        ("TEST:seed=7", ("test", "", {"seed": "7"})),
        ("mic:", ("mic", "", {})),
        ("mic:USB Audio: #1 (hw:1,0)", ("mic", "USB Audio: #1 (hw:1,0)", {})),
        ("camera:/dev/video0", ("camera", "/dev/video0", {})),
        ("screen:", ("screen", "", {})),
        ("screen::99.0+10,20", ("screen", ":99.0+10,20", {})),
        ("file:/a/b.webm", ("file", "/a/b.webm", {})),
        ("file:///a/b.webm", ("file", "/a/b.webm", {})),
        ("file:b.webm?pace=max", ("file", "b.webm", {"pace": "max"})),
        ("file:what?.webm", ("file", "what?.webm", {})),
        ("rtsp://host/a?b=c", ("rtsp", "rtsp://host/a?b=c", {})),
    ],
)
def test_a_source_string_is_taken_apart(source, expected):
    assert tuple(parse_source(source)) == expected


@pytest.mark.parametrize(
    ("source", "error", "word"),
    [
        ("", ValueError, "test:"),
        ("nothing", ValueError, "test:"),
        ("ftp://host/x", NotFoundError, "rtsp://"),
        ("concat:a|b", NotFoundError, "file:"),
        ("rtsp:host", ValueError, "rtsp://host"),
        ("file:", ValueError, "file:PATH"),
        ("file:a?pace=fast", ValueError, "realtime"),
        ("file:a?speed=2", ValueError, "speed"),
        ("test:seed", ValueError, "name=value"),
        ("test:seed=1&seed=2", ValueError, "twice"),
        ("file:a\0b", ValueError, "NUL"),
        (None, TypeError, "None"),
    ],
)
def test_a_wrong_source_string_is_refused_with_the_reason(source, error, word):
    with pytest.raises(error, match=word):
        parse_source(source)


@pytest.mark.parametrize(
    ("audio", "video", "error", "word"),
    [
        (None, {"width": 0}, ValueError, "width"),
        (None, {"width": -1}, ValueError, "width"),
        (None, {"height": 16384}, OverconstrainedError, "^height: 16384"),
        (None, {"width": "640"}, TypeError, "'640'"),
        (None, {"width": True}, TypeError, "True"),
        (None, {"frame_rate": 0}, ValueError, "frame_rate"),
        (None, {"frame_rate": float("nan")}, ValueError, "nan"),
        (None, {"frame_rate": 1001}, OverconstrainedError, "^frame_rate: 1001"),
        (None, {"colour": 1}, ValueError, "colour"),
        ({"sample_rate": 7999}, None, OverconstrainedError, "^sample_rate: 7999"),
        ({"sample_rate": 192001}, None, OverconstrainedError, "^sample_rate: 192001"),
        ({"channel_count": 0}, None, ValueError, "channel_count"),
        ({"channel_count": 9}, None, OverconstrainedError, "^channel_count: 9"),
        ({"sample_size": 24}, None, OverconstrainedError, "^sample_size: 24"),
        ({"latency": 10**400}, None, OverconstrainedError, "^latency: 1000"),
        (None, {"width": 10**400}, OverconstrainedError, "^width: 1000"),
        (None, {"width": 10_000_000}, OverconstrainedError, "^width: 10000000"),
        (None, {"width": 16383, "height": 16383}, OverconstrainedError, "^width: .*16383x16383"),
        (None, {"frame_rate": 1_000_000}, OverconstrainedError, "^frame_rate: 1000000"),
        (None, {"width": 640.5}, TypeError, "640.5"),
        (None, {"width": float("inf")}, TypeError, "inf"),
        (None, {"frame_rate": "25"}, TypeError, "'25'"),
        (None, {"frame_rate": -1}, ValueError, "-1"),
        ({"sample_size": 0}, None, ValueError, "sample_size"),
        ({"latency": 0}, None, ValueError, "^latency"),
        ({"latency": "low"}, None, TypeError, "^latency"),
        ({"latency": 1.5}, None, OverconstrainedError, "^latency: 1.5"),
        ({"rate": 1}, None, ValueError, "rate"),
        ([], None, TypeError, "dict"),
        (None, None, TypeError, "neither"),
    ],
)
def test_impossible_constraints_are_refused_with_the_value(audio, video, error, word):
    with pytest.raises(error, match=word) as raised:
        open_source("test:", audio, video)
    if isinstance(raised.value, OverconstrainedError):
        assert raised.value.constraint in word


@pytest.mark.parametrize("source", ["mic:", "screen:", "camera:/dev/video0", "file:/no/such", "rtsp://127.0.0.1:9/x"])
def test_impossible_constraints_are_named_for_every_kind_of_source(source):
    audio, video = ({"sample_rate": 10_000_000}, None) if source == "mic:" else (None, {"width": 10_000_000})
    with pytest.raises(OverconstrainedError) as raised:
        open_source(source, audio, video)
    assert raised.value.constraint == ("sample_rate" if audio else "width")


def test_numbers_of_any_kind_are_constraints():
    """What a check takes can be sent to another process, and is what the track has then."""
    for rate in (Fraction(30_000, 1001), Decimal("29.97"), np.float64(12.5), np.float32(12.5), np.int64(5), 7):
        for side in (320, 320.0, np.int64(320), np.uint16(320), Fraction(320), Decimal(320)):
            given = {"source": "test:", "width": side, "height": None, "frame_rate": rate}
            checked = plain(given)
            assert checked == {"source": "test:", "width": 320, "frame_rate": float(rate)}
            assert {type(value) for value in checked.values()} == {str, int, float}
            settings = open_source("test:", None, given).tracks[0].settings
            assert (settings["width"], settings["frame_rate"]) == (320, float(rate))


def test_pictures_too_large_to_be_sent_are_refused_before_anything_is_recorded(tmp_path):
    for parameters, video in (("width=16383&height=16383", {}), ("height=16383", {"width": 16_000})):
        with pytest.raises(OverconstrainedError, match=r"16\d{3}x16383"):
            open_source(f"test:?{parameters}", None, video)
    path = make_file(tmp_path / "a.mkv", "testsrc=duration=0.2:size=64x48", options=("-c:v", "libx264"))
    with pytest.raises(OverconstrainedError, match=r"^width: .*16383x12287") as raised:
        open_source(f"file:{path}", None, {"width": 16_383})
    assert raised.value.constraint == "width"


@pytest.mark.parametrize(
    "parameters",
    [
        "colour=red", "width=0", "width=99999", "frame_rate=0", "frame_rate=nan", "frequency=x",
        "frequency=24001", "amplitude=2", "pattern=stripes", "frames=0", "duration=0", "duration=-1",
        "frames=1&duration=1",
    ],
)  # fmt: skip
def test_impossible_parameters_of_the_test_source_are_refused(parameters):
    with pytest.raises(ValueError):
        open_source(f"test:{parameters}", {}, {})


@pytest.mark.parametrize(
    ("source", "audio", "video"),
    [
        ("mic:", None, {}),
        ("screen:", {}, None),
        ("camera:/dev/video99", None, {}),
        ("screen::4093", None, {}),
        ("file:/no/such/file.webm", None, {}),
        ("tcp://127.0.0.1:9", None, {}),
    ],
)
def test_what_does_not_exist_is_not_found(source, audio, video):
    with pytest.raises(NotFoundError):
        open_source(source, audio, video)


def test_a_screen_needs_a_display(monkeypatch):
    monkeypatch.delenv("DISPLAY", raising=False)
    with pytest.raises(NotFoundError, match="DISPLAY"):
        open_source("screen:", None, {})


def test_a_microphone_that_is_not_there_is_named():
    """Also where there is no microphone at all."""

    class Machine:
        def __init__(self, *names):
            self.names = names

        def query_devices(self):
            return [{"name": name, "index": n, "max_input_channels": 1} for n, name in enumerate(self.names)]

    for machine, there in ((Machine(), "none"), (Machine("Webcam", "Line"), "'Webcam', 'Line'")):
        with pytest.raises(NotFoundError, match=f"'Studio XLR'.*{there}"):
            _find(machine, "Studio XLR")
    with pytest.raises(NotFoundError, match="no microphone"):
        _find(Machine(), "")


def test_errors_are_of_the_project_alone():
    """A caller catches ``RecorderError``; FFmpeg's own exceptions do not come through."""
    for source in ("file:/etc/passwd", "file:/tmp", "camera:/etc/passwd", "srt://127.0.0.1:9"):
        with pytest.raises(RecorderError):
            open_source(source, None, {})


def test_the_test_source_loads_no_media_library():
    """Starting a capture process for ``test:`` must not pay for FFmpeg or PortAudio."""
    program = (
        "import sys; from recsvc.capture.opening import open_source; open_source('test:', {}, {}).close();"
        "print([name for name in ('av', 'sounddevice', 'numpy') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("file:a.webm", "file:/here/a.webm"),
        ("file:a.webm?pace=max", "file:/here/a.webm?pace=max"),
        ("FILE:../what?/a?b.webm", "FILE:/here/../what?/a?b.webm"),
        ("file:/there/a.webm?pace=max", "file:/there/a.webm?pace=max"),
        ("file:///there/a.webm", "file:///there/a.webm"),
        ("file:", "file:"),
        ("file:a.webm?speed=2", "file:a.webm?speed=2"),
        ("test:frequency=440", "test:frequency=440"),
        ("mic:a", "mic:a"),
        ("nonsense", "nonsense"),
    ],
)
def test_a_relative_file_is_seen_from_the_callers_directory(source, expected):
    assert absolute(source, "/here") == expected
    if expected.startswith("file:/here"):
        assert absolute(source, "/") == expected.replace("/here", "")


def test_the_directory_of_the_call_counts_not_that_of_the_first(tmp_path, monkeypatch):
    recsvc.get_user_media(audio="test:").close()  # from now on there is a controller, in this directory
    source = recsvc.AudioSource(16_000, 1)
    with recsvc.MediaRecorder(recsvc.MediaStream([source.track])) as recorder:
        recorder.start()
        source.write(bytes(3200))
    recorder.recording.save(tmp_path / "sound.webm", move=True)
    monkeypatch.chdir(tmp_path)
    for wish in ("file:sound.webm?pace=max", {"source": "file:sound.webm", "channel_count": 1}):
        with recsvc.get_user_media(audio=wish) as stream:
            assert stream.active
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    with pytest.raises(recsvc.errors.NotFoundError, match="current directory was removed"):
        recsvc.get_user_media(audio="file:sound.webm")
    with pytest.raises(recsvc.errors.NotFoundError, match="current directory was removed"):
        recsvc.get_user_media(audio={"source": "file:sound.webm"})
    for source in ("test:", f"file:{tmp_path}/sound.webm"):
        with recsvc.get_user_media(audio=source) as stream:
            assert stream.active
