"""Headless browsers: how they are found, started with a page of ours, and ended without a trace.

The page is served on 127.0.0.1 and posts what it found, so that no browser needs a driver. All in which the browsers
differ is in ``CHROMIUM`` and ``FIREFOX``. The standard library alone.
"""

from __future__ import annotations

import contextlib
import functools
import os
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import NamedTuple

ENDING_LIMIT_S = 5.0
"""How long a browser may take to end by itself, and its processes to vanish once killed."""
POLL_S = 0.01


class BrowserFailed(Exception):
    """The browser is not there, ended, did not report before the deadline, or could not be ended."""


@dataclass(frozen=True)
class Browser:
    """A browser: how it is found and started, and what it makes of a recording unlike the others."""

    name: str
    programs: tuple[str, ...]  # the first that starts is taken
    variable: str  # in the environment: a program to be tried before these
    arguments: tuple[str, ...]  # in front of the address; PROFILE stands for the directory of its data
    late_end_s: float  # by how much it may play on after the duration that the file says
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
        # A page that nobody looks at keeps its pace.
        "--disable-background-timer-throttling",
        "--disable-renderer-backgrounding",
        "--user-data-dir=PROFILE",
    ),
    late_end_s=0.007,  # where sound ends less than its pre-skip before a whole packet, it plays to that
)

FIREFOX = Browser(
    name="Firefox",
    programs=("firefox-esr", "firefox"),
    variable="RECSVC_FIREFOX",
    arguments=("--headless", "--no-remote", "--profile", "PROFILE"),
    # It takes CodecDelay (7 ms) not off the time of sound.
    late_end_s=0.008,
    preferences="""
// The page plays by itself, keeps its pace though nobody looks at it, and reads exact times.
user_pref("media.autoplay.default", 0);
user_pref("media.autoplay.blocking_policy", 0);
user_pref("dom.min_background_timeout_value", 1);
user_pref("privacy.reduceTimerPrecision", false);
// No page but ours.
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
            tempfile.TemporaryDirectory(prefix="rsb-") as scratch,
            contextlib.suppress(subprocess.SubprocessError, OSError),
        ):
            environment = _environment(scratch)
            subprocess.run([path, "--version"], check=True, capture_output=True, timeout=20, env=environment)
            return path
    return None


class Answer(NamedTuple):
    """What is sent back for a request. ``content_range``: of a part (206), or of what could not be given (416)."""

    status: int
    body: bytes = b""
    kind: str = "application/octet-stream"
    content_range: str | None = None


@contextlib.contextmanager
def served(get: Callable[[str, str], Answer], post: Callable[[str, bytes], None]) -> Iterator[str]:
    """Yields the address of a server on 127.0.0.1. ``get`` is called with a path and the range asked for (``""``: all);
    ``post`` with a path and what was sent there."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle(self) -> None:
            # A browser that is killed resets what it holds open.
            with contextlib.suppress(ConnectionError):
                super().handle()

        def do_GET(self) -> None:
            self._send(get(self.path, self.headers.get("Range", "")))

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            self._send(Answer(204))
            post(self.path, body)

        def _send(self, answer: Answer) -> None:
            # A browser drops the connection of a range it no longer wants.
            with contextlib.suppress(ConnectionError):
                self.send_response(answer.status)
                if answer.status != 204:
                    self.send_header("Content-Type", answer.kind)
                    self.send_header("Content-Length", str(len(answer.body)))
                self.send_header("Accept-Ranges", "bytes")
                self.send_header("Cache-Control", "no-store")
                # A page that is alone with its origin reads times to 5 us instead of 100.
                self.send_header("Cross-Origin-Opener-Policy", "same-origin")
                self.send_header("Cross-Origin-Embedder-Policy", "require-corp")
                if answer.content_range is not None:
                    self.send_header("Content-Range", answer.content_range)
                self.end_headers()
                self.wfile.write(answer.body)

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
def running(
    browser: Browser,
    address: str,
    ended: Callable[[BrowserFailed], None],
    *,
    arguments: tuple[str, ...] = (),
    environment: Mapping[str, str] | None = None,
) -> Iterator[None]:
    """The browser with this page, and whatever it starts, until the block ends. ``ended`` is called on a thread when it
    ends, at the latest then. ``arguments`` are added to its own, ``environment`` to that of this process."""
    program = find_program(browser)
    if program is None:
        raise BrowserFailed(f"no {browser.name} that starts")
    with tempfile.TemporaryDirectory(prefix="rsb-") as scratch:
        log = Path(scratch, "log")
        profile = Path(scratch, "profile")
        profile.mkdir()
        if browser.preferences:
            (profile / "user.js").write_text(browser.preferences)
        words = [argument.replace("PROFILE", str(profile)) for argument in browser.arguments]
        with log.open("wb") as output:
            process = subprocess.Popen(
                [program, *words, *arguments, address],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=_environment(scratch) | (environment or {}),
                start_new_session=True,
            )

        def watch() -> None:
            code = process.wait()
            tail = log.read_text(errors="replace")[-2000:] if log.exists() else ""
            ended(BrowserFailed(f"{browser.name} ended with {code}: {tail}"))

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
    """Returns when none of them lives: what one still wrote would stay after the removal of the directory."""
    deadline_s = time.monotonic() + ENDING_LIMIT_S
    while remaining := processes_of(scratch, group):
        if time.monotonic() > deadline_s:
            raise BrowserFailed(f"killed, and still there: {remaining}")
        for process in remaining:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        time.sleep(POLL_S)
