"""A browser plays and seeks a recording whose bytes it asks the HTTP side for."""

from __future__ import annotations

import subprocess
import sys

import browser
import pytest
from headless import CHROMIUM, Answer, find_program
from http_side import served
from media import DEADLINE_S, TICK_S, decode
from pattern import read_counter


def test_chromium_seeks_through_ranges(tmp_path, place, monkeypatch):
    if find_program(CHROMIUM) is None:
        pytest.skip("no Chromium that starts")
    path = tmp_path / "demo.webm"
    source = "test:width=320&height=240"
    command = [sys.executable, "-m", "recsvc", "record", "--audio", source, "--video", source]
    subprocess.run([*command, "--duration", "2.5", "-o", path], check=True, timeout=DEADLINE_S)
    asked = []

    with served(place) as (fake, side):
        fake.add("one", path.read_bytes())

        def relayed(_, part):
            answer = side.ask("/recordings/one/file", **({"Range": part} if part else {}))
            asked.append((part, answer.status))
            kind = answer.headers.get("content-type", "").partition(";")[0]
            return Answer(answer.status, answer.body, kind, answer.headers.get("content-range"))

        monkeypatch.setattr(browser, "_media", relayed)
        decoded = decode(path)
        pictures = decoded.pictures
        middles = {n: (pictures[n].at_s + pictures[n + 1].at_s) / 2 for n in (60, 5, 40)}
        report = browser.check_in_browser(CHROMIUM, path, list(middles.values()))
    assert report["error"] is None
    assert report["duration"] == pytest.approx(decoded.duration_s, abs=0.001)
    for number, seek in zip(middles, report["seeks"], strict=True):
        assert pictures[number].at_s - TICK_S <= seek["mediaTime"] <= seek["asked"] + TICK_S
        assert read_counter(seek["luma"], 320, 240) == pictures[number].counter
    assert asked and all(status == 206 for part, status in asked if part)
    assert any(part for part, _ in asked)
