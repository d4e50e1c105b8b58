"""A recorded file in browsers: each knows its length, can be set to any time, and shows the right picture."""

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import encoded
import pytest
from browser import check_in_browser
from headless import BROWSERS, CHROMIUM, Browser, BrowserFailed, find_program, processes_of
from media import DEADLINE_S, TICK_S, decode
from pattern import read_counter

import recsvc


@pytest.fixture(scope="module", params=BROWSERS, ids=lambda browser: browser.name)
def browser(request: pytest.FixtureRequest) -> Browser:
    if find_program(request.param) is None:
        pytest.skip(f"no {request.param.name} that starts")
    return request.param


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("recording") / "demo.webm"
    source = "test:width=320&height=240"
    command = [sys.executable, "-m", "recsvc", "record", "--audio", source, "--video", source]
    subprocess.run([*command, "--duration", "2.5", "-o", path], check=True, timeout=DEADLINE_S)
    return path


@pytest.fixture(autouse=True)
def nothing_left_by_the_browser(browser: Browser, recording: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Neither a process nor a profile, however the check ended."""
    # Not pytest's: Chromium makes a socket in it, and the path of a socket is at most 107 bytes long.
    with tempfile.TemporaryDirectory(prefix="rstb-") as directory:
        monkeypatch.setattr(tempfile, "tempdir", directory)
        yield
        assert processes_of(directory) == []
        assert list(Path(directory).iterdir()) == []


def test_a_browser_plays_and_seeks_what_was_recorded(browser: Browser, recording: Path) -> None:
    decoded = decode(recording)
    pictures = decoded.pictures
    # In the middle of a picture's time, so that no rounding decides between two; back and forth.
    middles = {n: (pictures[n].at_s + pictures[n + 1].at_s) / 2 for n in (20, 60, 1, 45, len(pictures) - 2)}
    report = check_in_browser(browser, recording, list(middles.values()))
    assert report["error"] is None
    assert report["duration"] is not None
    assert report["duration"] == pytest.approx(decoded.duration_s, abs=0.001)
    assert (report["videoWidth"], report["videoHeight"]) == (320, 240)
    for number, seek in zip(middles, report["seeks"], strict=True):
        assert seek["currentTime"] == pytest.approx(seek["asked"], abs=0.001)
        # Chromium tells the time of the picture; Firefox cuts off what is before the time asked for.
        assert seek["mediaTime"] is not None
        assert pictures[number].at_s - TICK_S <= seek["mediaTime"] <= seek["asked"] + TICK_S
        assert read_counter(seek["luma"], 320, 240) == pictures[number].counter
    playback = report["playback"]
    assert playback is not None and playback["ended"]
    # Neither is anything of the length missing, nor does playing show more than the browser's own fault.
    assert playback["currentTime"] == pytest.approx(playback["duration"], abs=0.001)
    assert -TICK_S <= playback["currentTime"] - report["duration"] <= browser.late_end_s + TICK_S
    # Played to the end with all its pictures; those that a slow machine left out of the screen are decoded too.
    assert playback["decodedFrames"] == len(pictures)


def test_what_was_copied_is_played(browser: Browser, recording: Path, tmp_path: Path) -> None:
    """In Chromium with pictures out of order; Firefox knows WebM alone, which has none."""
    pictures, sound, suffix = ("h264", "aac", "mp4") if browser is CHROMIUM else ("vp9", "opus", "webm")
    source = tmp_path / f"source.{suffix}"
    encoded.put_into(str(source), encoded.film(pictures), encoded.tone(sound))
    wish = {"source": f"file:{source}?pace=max", "encoded": True}
    path = tmp_path / "copied"
    with recsvc.get_user_media(audio=wish, video=wish) as stream:
        recorder = recsvc.MediaRecorder(stream)
        recorder.start()
        recorder.wait("stop", DEADLINE_S)
        recorder.recording.save(path)
    report = check_in_browser(browser, path, [1.5])
    assert report["error"] is None and (report["videoWidth"], report["videoHeight"]) == (160, 120)
    assert report["duration"] == pytest.approx(recorder.recording.duration, abs=0.001)
    shown = [at_s for at_s in decode(path).times if at_s <= 1.5]
    assert shown[-1] - TICK_S <= report["seeks"][0]["mediaTime"] <= 1.5 + TICK_S
    playback = report["playback"]
    assert playback is not None and playback["ended"] and playback["decodedFrames"] == 50


def test_a_browser_says_what_it_cannot_play(browser: Browser, recording: Path, tmp_path: Path) -> None:
    path = tmp_path / "broken.webm"
    path.write_bytes(recording.read_bytes()[:200])  # ends within the header
    report = check_in_browser(browser, path, [1.0])
    assert report["error"] is not None
    assert report["seeks"] == [] and report["playback"] is None


def test_a_browser_that_is_late_is_ended(browser: Browser, recording: Path) -> None:
    # Playing alone takes longer; while it starts, its processes and its profile are there in part.
    with pytest.raises(BrowserFailed, match="did not report"):
        check_in_browser(browser, recording, rate=1.0, deadline_s=0.5)
