"""Opens a recording in headless Chromium and reports what the browser makes of it.

The page is served on 127.0.0.1 with byte ranges, which seeking needs. It loads the video, seeks to the
times asked for, takes the picture shown there, plays to the end and posts its findings back.
"""

from __future__ import annotations

import base64
import contextlib
import functools
import json
import os
import queue
import re
import shutil
import signal
import subprocess
import tempfile
import threading
from collections.abc import Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, TypedDict


class Seek(TypedDict):
    asked: float
    currentTime: float
    mediaTime: float | None  # timestamp of the frame shown, None when the browser presented no new frame
    luma: bytes  # videoWidth * videoHeight bytes, rows from the top; empty for audio alone


class Playback(TypedDict):
    ended: bool
    currentTime: float  # where playing stopped
    decodedFrames: int  # among them the dropped ones
    droppedFrames: int


class BrowserReport(TypedDict):
    duration: float | None  # None: the file does not say (the browser's Infinity)
    videoWidth: int
    videoHeight: int
    seeks: list[Seek]
    playback: Playback | None  # None when not asked for, or after an error
    error: str | None  # what the browser could not do; the findings before it are kept


class BrowserFailed(Exception):
    """Chromium ended, or did not report before the deadline."""


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

function luma() {
  const canvas = document.createElement("canvas");
  canvas.width = video.videoWidth;
  canvas.height = video.videoHeight;
  const context = canvas.getContext("2d", {willReadFrequently: true});
  context.drawImage(video, 0, 0);
  const rgba = context.getImageData(0, 0, canvas.width, canvas.height).data;
  const step = 8192, parts = [];
  for (let start = 0; start < rgba.length / 4; start += step) {
    const gray = [];
    for (let i = start; i < Math.min(start + step, rgba.length / 4); i++)
      gray.push(Math.round(0.299 * rgba[4 * i] + 0.587 * rgba[4 * i + 1] + 0.114 * rgba[4 * i + 2]));
    parts.push(String.fromCharCode(...gray));
  }
  return btoa(parts.join(""));
}

async function seek(time) {
  const seeked = happened("seeked");
  const frame = video.videoWidth ? presented() : null;
  video.currentTime = time;
  await seeked;
  const mediaTime = await frame;
  return {asked: time, currentTime: video.currentTime, mediaTime, luma: video.videoWidth ? luma() : ""};
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


@functools.cache
def find_chromium() -> str | None:
    """Returns a Chromium that starts, None if there is none."""
    for name in (os.environ.get("RECSVC_CHROMIUM"), "chromium", "chromium-browser", "google-chrome"):
        path = shutil.which(name) if name else None
        if path is None:
            continue
        # Ubuntu's package is a script that asks for a snap.
        with contextlib.suppress(subprocess.SubprocessError, OSError):
            subprocess.run([path, "--version"], check=True, capture_output=True, timeout=20)
            return path
    return None


def check_in_chromium(
    path: Path,
    seeks: Sequence[float] = (),
    *,
    rate: float | None = 4.0,
    deadline_s: float = 60.0,
) -> BrowserReport:
    """Opens the file in Chromium, seeks to each time in order, then plays it to the end.

    rate is the speed of playing, at most 16; None leaves playing out. What the browser objects to is in
    the report's error; BrowserFailed is for a browser that is not there, ends or misses the deadline.
    """
    if not path.is_file():
        raise FileNotFoundError(path)
    chromium = find_chromium()
    if chromium is None:
        raise BrowserFailed("no Chromium that starts")
    answers: queue.Queue[BrowserReport | BrowserFailed] = queue.Queue()
    options = json.dumps({"seeks": [float(time) for time in seeks], "rate": rate or 0})
    with (
        _served(path, PAGE.replace("OPTIONS", options), answers) as address,
        _chromium(chromium, address, answers),
    ):
        try:
            answer = answers.get(timeout=deadline_s)
        except queue.Empty:
            raise BrowserFailed(f"Chromium did not report on {path.name} within {deadline_s:g} s") from None
    if isinstance(answer, BrowserFailed):
        raise answer
    return answer


@contextlib.contextmanager
def _served(path: Path, page: str, answers: queue.Queue[Any]) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            if self.path == "/":
                self._send(200, page.encode(), "text/html")
            elif self.path == "/media":
                self._send_media()
            else:
                self._send(404, b"", "text/plain")

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            self._send(204, b"", "text/plain")
            report = json.loads(body)
            for seek in report["seeks"]:
                seek["luma"] = base64.b64decode(seek["luma"])
            answers.put(report)

        def _send_media(self) -> None:
            size = path.stat().st_size
            asked = re.fullmatch(r"bytes=(\d*)-(\d*)", self.headers.get("Range", ""))
            if asked is None or asked.groups() == ("", ""):
                self._send(200, path.read_bytes(), "video/webm")
                return
            first, last = asked.groups()
            start = int(first) if first else max(0, size - int(last))
            stop = min(int(last) + 1, size) if first and last else size
            if start >= stop:
                self._send(416, b"", "video/webm", f"bytes */{size}")
                return
            with path.open("rb") as media:
                media.seek(start)
                body = media.read(stop - start)
            self._send(206, body, "video/webm", f"bytes {start}-{stop - 1}/{size}")

        def _send(self, status: int, body: bytes, kind: str, content_range: str | None = None) -> None:
            # Chromium drops the connection of a range it no longer wants.
            with contextlib.suppress(ConnectionError):
                self.send_response(status)
                if status != 204:
                    self.send_header("Content-Type", kind)
                    self.send_header("Content-Length", str(len(body)))
                self.send_header("Accept-Ranges", "bytes")
                self.send_header("Cache-Control", "no-store")
                if content_range is not None:
                    self.send_header("Content-Range", content_range)
                self.end_headers()
                self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, name="browser-page", daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/"
    finally:
        server.shutdown()
        thread.join()
        server.socket.close()  # server_close would wait for kept-alive connections


@contextlib.contextmanager
def _chromium(chromium: str, address: str, answers: queue.Queue[Any]) -> Iterator[None]:
    with tempfile.TemporaryDirectory(prefix="recsvc-browser-", ignore_cleanup_errors=True) as scratch:
        log = Path(scratch, "log")
        with log.open("wb") as output:
            browser = subprocess.Popen(
                [
                    chromium,
                    "--headless",
                    "--no-sandbox",
                    "--disable-gpu",
                    "--disable-quic",
                    "--disable-dev-shm-usage",
                    "--disable-background-networking",
                    "--disable-component-update",
                    "--disable-crash-reporter",
                    "--disable-extensions",
                    "--disable-sync",
                    "--no-first-run",
                    "--no-default-browser-check",
                    "--no-proxy-server",
                    "--mute-audio",
                    "--autoplay-policy=no-user-gesture-required",
                    f"--user-data-dir={scratch}/profile",
                    address,
                ],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                # Whatever it writes goes to the directory removed below.
                env=os.environ | {"HOME": scratch, "TMPDIR": scratch},
                start_new_session=True,
            )

        def watch() -> None:
            code = browser.wait()
            tail = log.read_text(errors="replace")[-2000:] if log.exists() else ""
            answers.put(BrowserFailed(f"Chromium ended with {code}: {tail}"))

        watcher = threading.Thread(target=watch, name="browser-watch", daemon=True)
        watcher.start()
        try:
            yield
        finally:
            # Asked politely it ends its children itself; the kill is for those that remain.
            with contextlib.suppress(ProcessLookupError):
                browser.terminate()
            watcher.join(timeout=5)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(browser.pid, signal.SIGKILL)
            watcher.join()
