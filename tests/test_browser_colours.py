"""How browsers show recordings: colours as they were, shapes too."""

import tempfile
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from browser import check_in_browser
from headless import BROWSERS, Browser, find_program
from media import finished
from patches import PATCHES, colours_of_patches, i420, striped
from test_colours import written

import recsvc

TOLERANCE = 14  # browsers reckon with a few bits; another matrix is off by 23


@pytest.fixture(scope="module", params=BROWSERS, ids=lambda browser: browser.name)
def browser(request: pytest.FixtureRequest) -> Browser:
    if find_program(request.param) is None:
        pytest.skip(f"no {request.param.name} that starts")
    return request.param


@pytest.fixture(autouse=True)
def short_paths(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    # Not pytest's: Chromium makes a socket in it, and the path of a socket is at most 107 bytes long.
    with tempfile.TemporaryDirectory(prefix="rstb-") as directory:
        monkeypatch.setattr(tempfile, "tempdir", directory)
        yield


@pytest.fixture(scope="module")
def hd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """VP8 of RGB in 1280x720."""
    source = recsvc.VideoSource(1280, 720, "rgb24", when_full="wait")
    recorder = recsvc.MediaRecorder(
        recsvc.MediaStream([source.track]), mime_type="video/webm;codecs=vp8", video_bits_per_second=8_000_000
    )
    with recorder:
        recorder.start()
        for n in range(3):
            source.write(striped(1280, 720).tobytes(), n * 33_000_000)
        path = tmp_path_factory.mktemp("hd") / "hd.webm"
        finished(recorder).save(path)
    source.end()
    return path


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """VP9 of a file in BT.709 whose pixels are twice as wide as high, and which is stored upside down."""
    directory = tmp_path_factory.mktemp("wide")
    planes = i420(striped(160, 120)[::-1], "bt709")
    half_turn = [-1 << 16, 0, 0, 0, -1 << 16, 0, 0, 0, 1 << 30]
    planes = tuple(plane[:, ::-1] for plane in planes)
    path = written(
        directory / "a.mp4", planes, "yuv420p", tags=(1, 1, 1), aspect=Fraction(2), matrix=half_turn, pictures=10
    )
    with recsvc.get_user_media(video=f"file:{path}?pace=max") as stream:
        recorder = recsvc.MediaRecorder(stream, mime_type="video/webm;codecs=vp9", video_bits_per_second=8_000_000)
        recorder.start()
        recorder.wait("stop", 20)
        assert recorder.recording is not None
        recorder.recording.save(directory / "wide.webm")
        recorder.close()
    return directory / "wide.webm"


def test_colours_and_shape_are_shown(browser: Browser, hd: Path, wide: Path) -> None:
    for path, size in ((hd, (1280, 720)), (wide, (320, 120))):
        report = check_in_browser(browser, path, [0.02], rate=None)
        assert report["error"] is None
        assert (report["videoWidth"], report["videoHeight"]) == size
        rgb = np.frombuffer(report["seeks"][0]["rgb"], np.uint8).reshape(size[1], size[0], 3)
        off = colours_of_patches(rgb).astype(int) - np.array(PATCHES)
        assert np.abs(off).max() <= TOLERANCE, (path.name, off)
