"""Opens a recording in a headless browser and reports what the browser makes of it.

The recording is served with byte ranges, which seeking needs. The page loads it, seeks to the times asked for, takes
the picture shown there, plays to the end and posts its findings back.
"""

from __future__ import annotations

import base64
import json
import queue
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TypedDict

import numpy as np
from headless import Answer, Browser, BrowserFailed, running, served


class Seek(TypedDict):
    asked: float
    currentTime: float
    mediaTime: float | None  # within the time of the frame shown; None when the browser presented no new frame
    rgb: bytes  # 3 * videoWidth * videoHeight bytes, rows from the top; empty for audio alone
    luma: bytes  # the same picture in grey, a byte a pixel


class Playback(TypedDict):
    ended: bool
    currentTime: float  # where playing stopped
    duration: float  # as the browser takes it to be from then on
    decodedFrames: int  # among them the dropped ones
    droppedFrames: int


class BrowserReport(TypedDict):
    duration: float | None  # None: the file does not say (the browser's Infinity)
    videoWidth: int
    videoHeight: int
    seeks: list[Seek]
    playback: Playback | None  # None when not asked for, or after an error
    error: str | None  # what the browser could not do; the findings before it are kept


PAGE = """<!doctype html><meta charset="utf-8"><title>recording</title>
<video id="video" muted playsinline preload="auto"></video>
<script>
const options = OPTIONS;
const video = document.getElementById("video");
const report = {duration: null, videoWidth: 0, videoHeight: 0, seeks: [], playback: null, error: null};

function happened(name) {
  return new Promise((resolve, reject) => {
    video.addEventListener(name, resolve, {once: true});
    video.addEventListener("error", () =>
      reject(new Error(`media error ${video.error.code}: ${video.error.message}`)), {once: true});
  });
}

// The time of the next frame presented; null if there is none, as after a seek within the frame shown.
function presented() {
  return new Promise(resolve => {
    video.requestVideoFrameCallback((now, frame) => resolve(frame.mediaTime));
    video.addEventListener("seeked", () => setTimeout(() => resolve(null), 500), {once: true});
  });
}

function rgb() {
  const canvas = document.createElement("canvas");
  canvas.width = video.videoWidth;
  canvas.height = video.videoHeight;
  const context = canvas.getContext("2d", {willReadFrequently: true});
  context.drawImage(video, 0, 0);
  const rgba = context.getImageData(0, 0, canvas.width, canvas.height).data;
  const step = 8192, parts = [];
  for (let start = 0; start < rgba.length; start += 4 * step)
    parts.push(String.fromCharCode(...rgba.subarray(start, start + 4 * step).filter((_, i) => i % 4 != 3)));
  return btoa(parts.join(""));
}

async function seek(time) {
  const seeked = happened("seeked");
  const frame = video.videoWidth ? presented() : null;
  video.currentTime = time;
  await seeked;
  const mediaTime = await frame;
  return {asked: time, currentTime: video.currentTime, mediaTime, rgb: video.videoWidth ? rgb() : ""};
}

async function load() {
  const loaded = happened("loadeddata");
  video.src = "/media";
  await loaded;
}

async function play() {
  await load();  // from the start, and the counts of frames too
  const ended = happened("ended");
  video.playbackRate = options.rate;
  await video.play();
  await ended;
  const quality = video.getVideoPlaybackQuality();
  return {
    ended: video.ended,
    currentTime: video.currentTime,
    duration: video.duration,
    decodedFrames: quality.totalVideoFrames,
    droppedFrames: quality.droppedVideoFrames,
  };
}

async function run() {
  try {
    await load();
    report.duration = Number.isFinite(video.duration) ? video.duration : null;
    report.videoWidth = video.videoWidth;
    report.videoHeight = video.videoHeight;
    for (const time of options.seeks) report.seeks.push(await seek(time));
    if (options.rate) report.playback = await play();
  } catch (error) {
    report.error = String(error.message || error);
  }
  await fetch("/report", {method: "POST", body: JSON.stringify(report)});
}
run();
</script>
"""


def grey(rgb: bytes) -> bytes:
    """The luma of BT.601, full range."""
    weighted = np.frombuffer(rgb, np.uint8).reshape(-1, 3) @ np.array([0.299, 0.587, 0.114])
    return weighted.round().astype(np.uint8).tobytes()


def check_in_browser(
    browser: Browser,
    path: Path,
    seeks: Sequence[float] = (),
    *,
    rate: float | None = 4.0,
    deadline_s: float = 60.0,
) -> BrowserReport:
    """Opens the file in the browser, seeks to each time in order, then plays it to the end.

    rate is the speed of playing, at most 16; None leaves playing out. What the browser objects to is in
    the report's error; BrowserFailed is for a browser that is not there, ends or misses the deadline.
    """
    if not path.is_file():
        raise FileNotFoundError(path)
    options = json.dumps({"seeks": [float(time) for time in seeks], "rate": rate or 0})
    page = PAGE.replace("OPTIONS", options).encode()
    answers: queue.Queue[BrowserReport | BrowserFailed] = queue.Queue()

    def get(asked: str, part: str) -> Answer:
        if asked == "/":
            return Answer(200, page, "text/html")
        return _media(path, part) if asked == "/media" else Answer(404)

    def post(asked: str, body: bytes) -> None:
        report = json.loads(body)
        for seek in report["seeks"]:
            seek["rgb"] = base64.b64decode(seek["rgb"])
            seek["luma"] = grey(seek["rgb"])
        answers.put(report)

    with served(get, post) as address, running(browser, address, answers.put):
        try:
            answer = answers.get(timeout=deadline_s)
        except queue.Empty:
            raise BrowserFailed(f"{browser.name} did not report on {path.name} within {deadline_s:g} s") from None
    if isinstance(answer, BrowserFailed):
        raise answer
    return answer


def _media(path: Path, part: str) -> Answer:
    """The file, or the range of its bytes that was asked for."""
    body, kind = path.read_bytes(), "video/webm"
    size = len(body)
    asked = re.fullmatch(r"bytes=(\d*)-(\d*)", part)
    if asked is None or asked.groups() == ("", ""):
        return Answer(200, body, kind)
    first, last = asked.groups()
    start = int(first) if first else max(0, size - int(last))
    stop = min(int(last) + 1, size) if first and last else size
    if start >= stop:
        return Answer(416, b"", kind, f"bytes */{size}")
    return Answer(206, body[start:stop], kind, f"bytes {start}-{stop - 1}/{size}")
