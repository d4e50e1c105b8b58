"""Opens a recording in a headless browser and reports what the browser makes of it.

The page is served on 127.0.0.1 with byte ranges, which seeking needs. It loads the video, seeks to the
times asked for, takes the picture shown there, plays to the end and posts its findings back, so that no
browser needs a driver. All in which the browsers differ is in ``CHROMIUM`` and ``FIREFOX``.
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
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, TypedDict

import numpy as np


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


class BrowserFailed(Exception):
    """The browser is not there, ended, did not report before the deadline, or could not be ended."""


# How long the browser may take to end by itself, and its processes to vanish once killed.
ENDING_LIMIT_S = 5.0
POLL_S = 0.01


@dataclass(frozen=True)
class Browser:
    """A browser: how it is found and started, and what it makes of a recording unlike the others."""

    name: str
    programs: tuple[str, ...]  # the first that starts is taken
    variable: str  # in the environment: a program to be tried before these
    arguments: tuple[str, ...]  # in front of the address; PROFILE stands for the directory of its data
    late_end_s: float  # by how much it may play on behind the duration that the file says
    preferences: str = ""  # what goes into the profile's user.js


CHROMIUM = Browser(
    name="Chromium",
    programs=("chromium", "chromium-browser", "google-chrome"),
    variable="RECSVC_CHROMIUM",
    arguments=(
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
        "--user-data-dir=PROFILE",
    ),
    late_end_s=0.0,
)

FIREFOX = Browser(
    name="Firefox",
    programs=("firefox-esr", "firefox"),
    variable="RECSVC_FIREFOX",
    arguments=("--headless", "--no-remote", "--profile", "PROFILE"),
    # It takes CodecDelay (7 ms) not off the time of sound.
    late_end_s=0.008,
    preferences="""
// The page plays by itself.
user_pref("media.autoplay.default", 0);
user_pref("media.autoplay.blocking_policy", 0);
// No page but the test's.
user_pref("browser.startup.page", 0);
user_pref("browser.startup.homepage_override.mstone", "ignore");
user_pref("browser.aboutwelcome.enabled", false);
user_pref("browser.shell.checkDefaultBrowser", false);
// No updates, no reports, no lists of bad sites, and no attempt to find out whether there is a network.
user_pref("app.update.enabled", false);
user_pref("app.normandy.enabled", false);
user_pref("extensions.update.enabled", false);
user_pref("datareporting.policy.dataSubmissionEnabled", false);
user_pref("datareporting.healthreport.uploadEnabled", false);
user_pref("toolkit.telemetry.enabled", false);
user_pref("browser.safebrowsing.malware.enabled", false);
user_pref("browser.safebrowsing.phishing.enabled", false);
user_pref("browser.safebrowsing.downloads.enabled", false);
user_pref("network.captive-portal-service.enabled", false);
user_pref("network.connectivity-service.enabled", false);
// What it asks for nevertheless ends at a port where nobody listens; 127.0.0.1 is never asked through a proxy.
user_pref("network.proxy.type", 1);
user_pref("network.proxy.socks", "127.0.0.1");
user_pref("network.proxy.socks_port", 9);
user_pref("network.proxy.socks_remote_dns", true);
user_pref("network.proxy.failover_direct", false);
""",
)

BROWSERS = (CHROMIUM, FIREFOX)


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


@functools.cache
def find_program(browser: Browser) -> str | None:
    """Returns a program that starts, None if there is none."""
    for name in (os.environ.get(browser.variable), *browser.programs):
        path = shutil.which(name) if name else None
        if path is None:
            continue
        # Ubuntu's packages are scripts that ask for a snap. A snap does not start with another home than the
        # user's; so it is left out, as it could not open a profile in the directory of temporary files.
        with (
            tempfile.TemporaryDirectory(prefix="recsvc-browser-") as scratch,
            contextlib.suppress(subprocess.SubprocessError, OSError),
        ):
            environment = _environment(scratch)
            subprocess.run([path, "--version"], check=True, capture_output=True, timeout=20, env=environment)
            return path
    return None


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
    program = find_program(browser)
    if program is None:
        raise BrowserFailed(f"no {browser.name} that starts")
    answers: queue.Queue[BrowserReport | BrowserFailed] = queue.Queue()
    options = json.dumps({"seeks": [float(time) for time in seeks], "rate": rate or 0})
    with (
        _served(path, PAGE.replace("OPTIONS", options), answers) as address,
        _running(browser, program, address, answers),
    ):
        try:
            answer = answers.get(timeout=deadline_s)
        except queue.Empty:
            raise BrowserFailed(f"{browser.name} did not report on {path.name} within {deadline_s:g} s") from None
    if isinstance(answer, BrowserFailed):
        raise answer
    return answer


@contextlib.contextmanager
def _served(path: Path, page: str, answers: queue.Queue[Any]) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle(self) -> None:
            # A browser that is killed resets what it holds open.
            with contextlib.suppress(ConnectionError):
                super().handle()

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
                seek["rgb"] = base64.b64decode(seek["rgb"])
                seek["luma"] = grey(seek["rgb"])
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
            # A browser drops the connection of a range it no longer wants.
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
def _running(browser: Browser, program: str, address: str, answers: queue.Queue[Any]) -> Iterator[None]:
    with tempfile.TemporaryDirectory(prefix="recsvc-browser-") as scratch:
        log = Path(scratch, "log")
        profile = Path(scratch, "profile")
        profile.mkdir()
        if browser.preferences:
            (profile / "user.js").write_text(browser.preferences)
        arguments = [argument.replace("PROFILE", str(profile)) for argument in browser.arguments]
        with log.open("wb") as output:
            process = subprocess.Popen(
                [program, *arguments, address],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=_environment(scratch),
                start_new_session=True,
            )

        def watch() -> None:
            code = process.wait()
            tail = log.read_text(errors="replace")[-2000:] if log.exists() else ""
            answers.put(BrowserFailed(f"{browser.name} ended with {code}: {tail}"))

        watcher = threading.Thread(target=watch, name="browser-watch", daemon=True)
        watcher.start()
        try:
            yield
        finally:
            # Asked politely it ends its children itself; the kill is for those that remain.
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
            watcher.join(timeout=ENDING_LIMIT_S)
            _kill(process.pid, scratch)
            watcher.join()


def _environment(scratch: str) -> dict[str, str]:
    """Whatever the browser writes goes to the directory. It finds no desktop there, so it neither joins one, nor
    starts the message bus or the sound server of one, which would outlive it."""
    return os.environ | {
        "HOME": scratch,
        "TMPDIR": scratch,
        "XDG_RUNTIME_DIR": scratch,
        "DBUS_SESSION_BUS_ADDRESS": "disabled:",
        "PULSE_SERVER": f"unix:{scratch}/no-sound-server",
    }


def processes_of(scratch: str, group: int | None = None) -> list[int]:
    """The living processes of the group, and those that name the directory in their environment or command line.

    Firefox' crash helper leaves the group, and Chromium's processes write over their environment.
    """
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        with contextlib.suppress(OSError):  # it ended meanwhile, or is another user's
            state, _, of_group = (entry / "stat").read_text().rpartition(")")[2].split()[:3]
            if state in "ZX":  # dead, and not yet noticed by its parent
                continue
            words = (entry / "cmdline").read_bytes()
            if int(of_group) == group or os.fsencode(scratch) in words + (entry / "environ").read_bytes():
                found.append(int(entry.name))
    return found


def _kill(group: int, scratch: str) -> None:
    """Returns when none of them lives: what one still wrote would stay behind the removal of the directory."""
    deadline_s = time.monotonic() + ENDING_LIMIT_S
    while remaining := processes_of(scratch, group):
        if time.monotonic() > deadline_s:
            raise BrowserFailed(f"killed, and still there: {remaining}")
        for process in remaining:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        time.sleep(POLL_S)
