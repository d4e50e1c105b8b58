"""A recorded file in a browser: it knows its length, can be set to any time, and shows the right picture."""

import subprocess
import sys

import pytest
from browser import check_in_chromium, find_chromium
from media import DEADLINE_S, decode
from pattern import read_counter


@pytest.mark.skipif(find_chromium() is None, reason="no Chromium that starts")
def test_a_browser_plays_and_seeks_what_was_recorded(tmp_path):
    path = tmp_path / "demo.webm"
    source = "test:width=320&height=240"
    command = [sys.executable, "-m", "recsvc", "record", "--audio", source, "--video", source]
    subprocess.run([*command, "--duration", "2.5", "-o", path], check=True, timeout=DEADLINE_S)
    pictures = decode(path).pictures
    # In the middle of a picture's time, so that no rounding decides between two; back and forth.
    middles = {n: (pictures[n].at_s + pictures[n + 1].at_s) / 2 for n in (20, 60, 1, 45, len(pictures) - 2)}
    report = check_in_chromium(path, list(middles.values()))
    assert report["error"] is None
    assert report["duration"] == pytest.approx(decode(path).duration_s, abs=0.001)
    assert (report["videoWidth"], report["videoHeight"]) == (320, 240)
    for number, seek in zip(middles, report["seeks"], strict=True):
        assert seek["currentTime"] == pytest.approx(seek["asked"], abs=0.001)
        assert read_counter(seek["luma"], 320, 240) == pictures[number].counter
    playback = report["playback"]
    assert playback["ended"] and playback["currentTime"] == pytest.approx(report["duration"], abs=0.05)
    # Played to the end with all its pictures; those that a slow machine left out of the screen are decoded too.
    assert playback["decodedFrames"] == len(pictures)
