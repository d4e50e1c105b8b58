"""Things to capture from (a screen, a sound server, a network stream), and a sink that keeps what came.

A test module says ``pytest_plugins = ["fixtures_media"]`` for the fixtures, or imports the context managers.
Each process is started with a deadline and is gone at the end. Debian packages: xvfb, x11-xserver-utils,
pulseaudio, pulseaudio-utils, libasound2-plugins, libportaudio2, ffmpeg.
"""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

START_LIMIT_S = 15.0
END_LIMIT_S = 5.0
POLL_S = 0.005

# What each program comes with, for the text of a failure.
PACKAGES = {
    "Xvfb": "xvfb",
    "xsetroot": "x11-xserver-utils",
    "pulseaudio": "pulseaudio",
    "pactl": "pulseaudio-utils",
    "paplay": "pulseaudio-utils",
    "ffmpeg": "ffmpeg",
}


def wait_until(condition: Callable[[], Any], what: str, limit_s: float = START_LIMIT_S) -> Any:
    """The first true value of ``condition``; fails, naming ``what``, after ``limit_s`` without one."""
    deadline_s = time.monotonic() + limit_s
    while not (value := condition()):
        if time.monotonic() > deadline_s:
            pytest.fail(f"{what}: not within {limit_s:g} s")
        time.sleep(POLL_S)
    return value


def program(name: str) -> str:
    """The path of a system program; fails with the name of its Debian package when it is missing."""
    path = shutil.which(name)
    if path is None:
        pytest.fail(f"the program {name} is missing; install the Debian package {PACKAGES.get(name, name)}")
    return path


@contextlib.contextmanager
def running(
    command: list[str], *, env: dict[str, str] | None = None, log: Path | None = None, **options: Any
) -> Iterator[subprocess.Popen[bytes]]:
    """A process for the length of the block: asked to end, then killed."""
    with contextlib.ExitStack() as stack:
        output: Any = subprocess.DEVNULL if log is None else stack.enter_context(open(log, "wb"))
        process = subprocess.Popen(
            [program(command[0]), *command[1:]],
            env=env, stdin=subprocess.DEVNULL, stdout=output, stderr=output, **options,
        )  # fmt: skip
        try:
            yield process
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGCONT)
                process.terminate()
                try:
                    process.wait(END_LIMIT_S)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()


@contextlib.contextmanager
def xvfb(size: str = "320x240", colour: str = "#ff8000") -> Iterator[str]:
    """An X server of our own with one colour on it; yields its display (``:N``)."""
    program("Xvfb")
    read, write = os.pipe()
    command = ["Xvfb", "-displayfd", str(write), "-screen", "0", f"{size}x24", "-nolisten", "tcp", "-noreset"]
    with running(command, pass_fds=(write,)) as server, os.fdopen(read, "rb") as numbers:
        os.close(write)
        os.set_blocking(read, False)
        text = b""

        def said() -> bool:
            nonlocal text
            if server.poll() is not None:
                pytest.fail(f"Xvfb ended with code {server.returncode}")
            text += numbers.read() or b""
            return text.endswith(b"\n")

        wait_until(said, "Xvfb's display number")
        display = f":{int(text)}"
        subprocess.run([program("xsetroot"), "-display", display, "-solid", colour], check=True, timeout=START_LIMIT_S)
        yield display


@pytest.fixture
def xvfb_display() -> Iterator[str]:
    """The display of an X server of 320x240 pixels, all of the colour #ff8000."""
    with xvfb() as display:
        yield display


ASOUND = """\
pcm_type.pulse { lib "libasound_module_pcm_pulse.so" }
ctl_type.pulse { lib "libasound_module_ctl_pulse.so" }
pcm.!default { type pulse hint { show on description "Default" } }
ctl.!default { type pulse }
pcm.speaker_monitor { type pulse device "speaker.monitor" hint { show on description "Monitor" } }
"""


@contextlib.contextmanager
def pulse_server(directory: Path) -> Iterator[dict[str, str]]:
    """A sound server of our own with a loudspeaker that nobody hears; its sound is the default microphone.

    Yields the environment (all of it, for ``subprocess``) with which ALSA, PortAudio and the PulseAudio tools
    use this server and nothing else. ``PULSE_PID`` in it is the server's process.
    """
    runtime = directory / "run"
    runtime.mkdir(mode=0o700, parents=True)
    (directory / "asound.conf").write_text(ASOUND)
    server = f"unix:{runtime}/native"
    env = {name: value for name, value in os.environ.items() if name not in ("DISPLAY", "PULSE_SERVER")}
    env |= {
        "HOME": str(directory),
        "XDG_RUNTIME_DIR": str(runtime),
        "XDG_CONFIG_HOME": str(directory / "config"),
        "PULSE_RUNTIME_PATH": str(runtime / "pulse"),
        "PULSE_STATE_PATH": str(directory / "state"),
        "ALSA_CONFIG_PATH": str(directory / "asound.conf"),
    }
    command = ["pulseaudio", "-n", "--daemonize=no", "--use-pid-file=no", "--exit-idle-time=-1"]
    command += ["--disable-shm=yes", "--high-priority=no", "--log-target=stderr"]
    command += ["-L", f"module-native-protocol-unix auth-anonymous=1 socket={runtime}/native"]
    command += ["-L", "module-null-sink sink_name=speaker rate=48000 channels=2 format=s16le"]
    log = directory / "pulseaudio.log"
    program("pactl")
    with running(command, env=env, log=log) as daemon:
        env |= {"PULSE_SERVER": server, "PULSE_SOURCE": "speaker.monitor", "PULSE_PID": str(daemon.pid)}

        def up() -> bool:
            if daemon.poll() is not None:
                pytest.fail(f"pulseaudio ended with code {daemon.returncode}: {log.read_text()[-2000:]}")
            asked = subprocess.run(
                [program("pactl"), "list", "short", "sources"],
                env=env,
                capture_output=True,
                timeout=START_LIMIT_S,
            )
            return b"speaker.monitor" in asked.stdout

        wait_until(up, "the sound server's microphone")
        yield env


@pytest.fixture
def pulse_microphone(tmp_path: Path) -> Iterator[dict[str, str]]:
    """The environment of a process whose default microphone hears what ``play_tone`` plays."""
    with pulse_server(tmp_path / "pulse") as env:
        yield env


@contextlib.contextmanager
def play_tone(env: dict[str, str], frequency: int = 440, seconds: int = 60) -> Iterator[None]:
    """Plays a tone into the sound server of ``env`` for the length of the block."""
    directory = Path(env["HOME"])
    wave = directory / f"tone-{frequency}.wav"
    tone = f"sine=frequency={frequency}:sample_rate=48000:duration={seconds}"
    subprocess.run(
        [program("ffmpeg"), "-y", "-loglevel", "error", "-f", "lavfi", "-i", tone, str(wave)],
        check=True, timeout=START_LIMIT_S,
    )  # fmt: skip
    with running(["paplay", "--latency-msec=20", str(wave)], env=env):

        def playing() -> bool:
            asked = subprocess.run(
                [program("pactl"), "list", "short", "sink-inputs"],
                env=env, capture_output=True, timeout=START_LIMIT_S,
            )  # fmt: skip
            return bool(asked.stdout.strip())

        wait_until(playing, "the tone being played")
        yield


def free_port() -> int:
    """A TCP port on which nothing listens."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def mpegts_server(
    *, size: str = "160x120", rate: int = 25, frequency: int = 440, seconds: float = 60
) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """A live MPEG-TS stream (H.264, AAC) for one client; yields its URL and the sending process."""
    port = free_port()
    command = ["ffmpeg", "-loglevel", "error", "-re"]
    command += ["-f", "lavfi", "-i", f"testsrc=size={size}:rate={rate}:duration={seconds}"]
    command += ["-f", "lavfi", "-i", f"sine=frequency={frequency}:sample_rate=48000:duration={seconds}"]
    command += ["-c:v", "libx264", "-preset", "ultrafast", "-tune", "zerolatency", "-g", str(rate)]
    command += ["-pix_fmt", "yuv420p", "-c:a", "aac", "-f", "mpegts", f"tcp://127.0.0.1:{port}?listen=1"]
    with running(command) as server:
        wait_until(lambda: _listens(port) or server.poll() is not None, "the stream's server")
        if server.poll() is not None:
            pytest.fail(f"the stream's server ended with code {server.returncode}")
        yield f"tcp://127.0.0.1:{port}", server


def _listens(port: int) -> bool:
    """Whether a process of this machine listens on ``port``; without connecting, which would use it up."""
    wanted = f":{port:04X}"
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        _, local, _, state, *_ = line.split()
        if local.endswith(wanted) and state == "0A":
            return True
    return False


def make_file(path: Path, *inputs: str, options: tuple[str, ...] = ()) -> Path:
    """A media file made by ffmpeg from lavfi ``inputs`` (e.g. ``testsrc=…``); returns ``path``."""
    command = [program("ffmpeg"), "-y", "-loglevel", "error"]
    for source in inputs:
        command += ["-f", "lavfi", "-i", source]
    subprocess.run([*command, *options, str(path)], check=True, timeout=START_LIMIT_S)
    return path


class Sound(NamedTuple):
    captured_ns: int
    samples: bytes


class Picture(NamedTuple):
    captured_ns: int
    picture: bytes | memoryview
    pixel_format: str
    width: int
    height: int
    given_ns: int


class KeepingSink:
    """Keeps what a source delivers; counts what should not happen. Thread-safe."""

    def __init__(self, wanted: bool = True) -> None:
        self.lock = threading.Lock()
        self.sounds: list[Sound] = []
        self.pictures: list[Picture] = []
        self.packets: list[Any] = []
        self.counts: dict[str, int] = {}
        self.ends: list[tuple[int, Exception | None]] = []
        self.after_end = 0
        self.wanted = threading.Event()
        if wanted:
            self.wanted.set()

    def audio(self, captured_ns: int, samples: Any) -> None:
        with self.lock:
            self.after_end += len(self.ends)
            self.sounds.append(Sound(captured_ns, bytes(samples)))

    def video(self, captured_ns: int, picture: Any, pixel_format: str, width: int, height: int) -> None:
        with self.lock:
            self.after_end += len(self.ends)
            self.pictures.append(Picture(captured_ns, picture, pixel_format, width, height, time.monotonic_ns()))

    def packet(self, packet: Any) -> None:
        with self.lock:
            self.after_end += len(self.ends)
            self.packets.append(packet)

    def moved(self, by_ns: int) -> None:
        with self.lock:
            self.packets = [packet._replace(captured_ns=packet.captured_ns + by_ns) for packet in self.packets]

    def count(self, cause: str, amount: int = 1) -> None:
        with self.lock:
            self.counts[cause] = self.counts.get(cause, 0) + amount

    def ended(self, error: Exception | None = None) -> None:
        with self.lock:
            self.ends.append((time.monotonic_ns(), error))

    def wait_wanted(self, timeout_s: float) -> bool:
        return self.wanted.wait(timeout_s)

    is_recorded = True

    @property
    def samples(self) -> bytes:
        with self.lock:
            return b"".join(sound.samples for sound in self.sounds)
