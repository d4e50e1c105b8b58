"""Browsers' own MediaRecorder, headless. ``page.html`` records; this serves it, and passes orders and results.

The time of a stop counts from the call in the page: when the page's timers call it is not the recorder's doing.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import shutil
import subprocess
import threading
import time
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from content import Content
from workloads import AUDIO_BITS_PER_SECOND, FRAME_RATE, SAMPLE_RATE, Workload

from .recorder import Order, Recorder, Taken

_READY_S = 50.0
_POLL_S = 5.0
_DEADLINE_S = 60.0
_END_S = 5.0
_PAGE = Path(__file__).with_name("page.html")


class _Browser(Recorder):
    flat_out = False
    programs: tuple[str, ...] = ()

    @classmethod
    def program(cls) -> str | None:
        return next(filter(None, map(shutil.which, cls.programs)), None)

    @classmethod
    def missing(cls) -> str | None:
        return None if cls.program() else f"no {cls.programs[0]}"

    def command(self, profile: Path, address: str) -> list[str]:
        raise NotImplementedError

    def prepare(self, directory: Path) -> dict[str, str]:
        """Starts what it needs beside it; what to add to its environment."""
        return {}

    def __init__(self, work: Workload, content: Content, directory: Path) -> None:
        super().__init__(work, content, directory)
        self._orders: queue.Queue[dict[str, Any]] = queue.Queue()
        self._said: queue.Queue[tuple[str, str, bytes]] = queue.Queue()
        self._server = self._serve()
        self._helpers: list[subprocess.Popen[bytes]] = []
        own = Path(os.environ["PEERS_DIRECTORY"])
        profile = own / "profile"
        profile.mkdir()
        address = f"http://127.0.0.1:{self._server.server_address[1]}/"
        try:
            environment = os.environ | _home(own) | self.prepare(own)
            self.meter.apart = {helper.pid for helper in self._helpers}
            command = self.command(profile, address)
            self._helpers.insert(0, subprocess.Popen(command, stdin=subprocess.DEVNULL, env=environment))
            self._next("ready", _READY_S)
        except BaseException:
            self.close()
            raise

    def version(self) -> str:
        said = subprocess.run([str(self.program()), "--version"], capture_output=True, text=True, check=True)
        return said.stdout.strip().partition(" built on")[0]

    def record(self, order: Order) -> Taken:
        self._orders.put({"stop_s": order.stop_s, "measure_s": order.measure_s})
        query, body = self._next("result", _DEADLINE_S + order.stop_s)
        figures = json.loads(urllib.parse.unquote(query))
        Path(order.path).write_bytes(body)
        return Taken(late_ms=0.0, cpu_s=self.meter.cpu_s, cpu_media_s=self.meter.media_s, **figures)

    def _next(self, wanted: str, deadline_s: float) -> tuple[str, bytes]:
        try:
            path, query, body = self._said.get(timeout=deadline_s)
        except queue.Empty:
            raise RuntimeError(f"{self.name} did not say {wanted} in {deadline_s:g} s") from None
        if path != wanted:
            raise RuntimeError(f"{self.name} said {path}: {body.decode(errors='replace')}")
        return query, body

    def _page(self) -> bytes:
        work = self.work
        facts = {
            "width": work.width,
            "height": work.height,
            "frame_rate": FRAME_RATE,
            "sample_rate": SAMPLE_RATE,
            "mime_type": work.mime_type,
            "audio_bits_per_second": AUDIO_BITS_PER_SECOND,
            "video_bits_per_second": work.video_bits_per_second,
        }
        return _PAGE.read_text().replace("WORK", json.dumps(facts), 1).encode()

    def _get(self, path: str) -> bytes | None:
        if path == "/":
            return self._page()
        if path == "/sound":
            return self.content.sound_path.read_bytes()
        if path == "/pictures":
            return self.content.pictures_path.read_bytes()
        if path == "/order":
            with contextlib.suppress(queue.Empty):
                return json.dumps(self._orders.get(timeout=_POLL_S)).encode()
            return b"null"
        return None

    def _posted(self, path: str, query: str, body: bytes) -> None:
        if path == "/begin":
            self.meter.begin(float(body))
        elif path == "/end":
            self.meter.end(float(body))
        else:
            self._said.put((path.strip("/"), query, body))

    def _serve(self) -> ThreadingHTTPServer:
        peer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                body = peer._get(self.path)
                self._send(404 if body is None else 200, body or b"", "text/html" if self.path == "/" else "")

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                path, _, query = self.path.partition("?")
                peer._posted(path, query, body)
                self._send(200, b"", "")

            def _send(self, status: int, body: bytes, kind: str) -> None:
                with contextlib.suppress(ConnectionError):
                    self.send_response(status)
                    self.send_header("Content-Type", kind or "application/octet-stream")
                    self.send_header("Content-Length", str(len(body)))
                    self.send_header("Cache-Control", "no-store")
                    self.end_headers()
                    self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        return server

    def close(self) -> None:
        for process in self._helpers:  # the browser first
            process.terminate()
            try:
                process.wait(_END_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._server.shutdown()
        self._server.socket.close()


def _home(directory: Path) -> dict[str, str]:
    """Whatever it writes goes to a directory that is removed."""
    return {name: str(directory) for name in ("HOME", "TMPDIR", "XDG_CACHE_HOME", "XDG_CONFIG_HOME")}


class Chromium(_Browser):
    name = "chromium"
    programs = ("chromium", "chromium-browser", "google-chrome")

    def command(self, profile: Path, address: str) -> list[str]:
        return [
            str(self.program()),
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--disable-background-networking",
            "--disable-background-timer-throttling",
            "--disable-renderer-backgrounding",
            "--disable-component-update",
            "--disable-crash-reporter",
            "--disable-extensions",
            "--disable-sync",
            "--no-first-run",
            "--no-default-browser-check",
            "--no-proxy-server",
            "--mute-audio",
            "--autoplay-policy=no-user-gesture-required",
            f"--user-data-dir={profile}",
            address,
        ]


_FIREFOX_SETTINGS = {
    "media.autoplay.default": 0,
    "media.autoplay.blocking_policy": 0,
    "privacy.reduceTimerPrecision": False,
    "dom.min_background_timeout_value": 1,
    "datareporting.policy.dataSubmissionEnabled": False,
    "toolkit.telemetry.enabled": False,
    "app.update.enabled": False,
    "app.normandy.enabled": False,
    "extensions.update.enabled": False,
    "browser.shell.checkDefaultBrowser": False,
    "browser.aboutwelcome.enabled": False,
    "browser.safebrowsing.malware.enabled": False,
    "browser.safebrowsing.phishing.enabled": False,
    "browser.safebrowsing.downloads.enabled": False,
    "network.captive-portal-service.enabled": False,
    "network.connectivity-service.enabled": False,
    "network.proxy.type": 0,
}


class Firefox(_Browser):
    """Its AudioContext stands still without a sound device, so it gets a sound server, which is not counted."""

    name = "firefox"
    programs = ("firefox-esr", "firefox")

    @classmethod
    def missing(cls) -> str | None:
        return super().missing() or (None if shutil.which("pulseaudio") else "no pulseaudio")

    def prepare(self, directory: Path) -> dict[str, str]:
        socket = directory / "pulse.socket"
        words = ["pulseaudio", "-n", "--daemonize=no", "--use-pid-file=no", "--exit-idle-time=-1"]
        words += ["--disable-shm=yes", "--high-priority=no", "-L", "module-null-sink rate=48000 channels=2"]
        words += ["-L", f"module-native-protocol-unix auth-anonymous=1 socket={socket}"]
        self._helpers.append(subprocess.Popen(words, stdin=subprocess.DEVNULL, env=os.environ | _home(directory)))
        deadline_s = time.monotonic() + _READY_S
        while not socket.exists():
            assert time.monotonic() < deadline_s, "no sound server"
            time.sleep(0.02)
        # Without its crash reporter no process of it outlives it.
        return {"PULSE_SERVER": f"unix:{socket}", "MOZ_CRASHREPORTER_DISABLE": "1"}

    def command(self, profile: Path, address: str) -> list[str]:
        lines = [f"user_pref({json.dumps(name)}, {json.dumps(value)});" for name, value in _FIREFOX_SETTINGS.items()]
        (profile / "user.js").write_text("\n".join(lines))
        return [str(self.program()), "--headless", "--no-remote", "--profile", str(profile), address]
