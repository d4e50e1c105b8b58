"""A microphone, a screen and a network camera of our own, whose sound and pictures show where in them one is.

Each is a context that yields a ``Device``: how recorders find it, and what was captured by an instant. Recorders of
other programs than ours capture the same at the same time.
"""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import subprocess
import threading
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import av
import content
import fixtures_media
import numpy as np
from arrivals import Arrivals
from peers import inspection
from program import HERE, Program
from workloads import A1, CHANNEL_COUNT, FRAME_RATE, SAMPLE_RATE, WAIT_S, S, Workload

from recsvc.capture.pattern import COLUMNS, ROWS, check_byte

SYSTEM_PYTHON = "/usr/bin/python3"
REFERENCE_MS = 10
"""What the reader beside asks the sound server for, which so brings sound that often to all."""
REMEMBERED_S = 8
PAINTED_RATE = 200
"""How often the screen changes in a second: several times a picture."""
_FRAME_BYTES = 2 * CHANNEL_COUNT


@dataclass
class Device:
    """``kind`` and ``address`` are for the recorders, with ``environment``."""

    kind: str
    address: str
    work: Workload
    environment: dict[str, str] = field(default_factory=dict)
    tracks: dict[str, Arrivals] = field(default_factory=dict)
    """When a reader beside had what; none where nothing is ever under way."""

    def lost_tail_ms(self, file: Path, stopped_ns: int) -> float:
        """How much of what was captured by the stop the file does not have; ``nan`` where its end cannot be found."""
        missing_ms = self._missing_ms(file, stopped_ns)
        return 0.0 if missing_ms < 0 else missing_ms

    def _missing_ms(self, file: Path, stopped_ns: int) -> float:
        """The same, below 0 where the file goes on after the stop."""
        raise NotImplementedError

    def tolerated_ms(self, file: Path) -> float:
        """How much of it recsvc's file may seem to lack though nothing was lost."""
        return 0.0

    def under_way_ms(self, stopped_ns: int) -> float:
        """How long after the stop the reader beside had what had been captured by then."""
        if not self.tracks:
            return 0.0
        offset_ns = min(track.offset_ns for track in self.tracks.values())
        deadline_s = time.monotonic() + WAIT_S
        while any(track.newest_ns(offset_ns) <= stopped_ns for track in self.tracks.values()):
            assert time.monotonic() < deadline_s, f"nothing comes from the {self.kind}"
            time.sleep(0.005)
        return max(track.under_way_ns(stopped_ns, offset_ns) for track in self.tracks.values()) / 1e6


# --- microphone -----------------------------------------------------------------------------------


class Microphone(Device):
    """Plays a melody into a sound server, over and over, and listens to it beside the recorders."""

    def __init__(self, environment: dict[str, str], reader: subprocess.Popen[bytes]) -> None:
        names = ("PULSE_SERVER", "PULSE_SOURCE", "ALSA_CONFIG_PATH", "PULSE_RUNTIME_PATH", "PULSE_STATE_PATH")
        super().__init__("microphone", "mic:", A1, {name: environment[name] for name in names})
        self.tracks = {"sound": Arrivals()}
        self._lock = threading.Lock()
        self._heard: deque[tuple[int, bytes]] = deque()
        self._melody = np.tile(inspection.reference_sound(), 2)
        self._period = len(self._melody) // 2
        self._reader = reader
        self._thread = threading.Thread(target=self._read, name="listener", daemon=True)
        self._thread.start()

    def _read(self) -> None:
        assert self._reader.stdout is not None
        read = 0
        while data := os.read(self._reader.stdout.fileno(), 1 << 16):
            now_ns = time.monotonic_ns()
            with self._lock:
                self._heard.append((now_ns, data))
                while self._heard[0][0] < now_ns - REMEMBERED_S * S:
                    self._heard.popleft()
                begin, read = read, read + len(data) // _FRAME_BYTES
                self.tracks["sound"].add(begin * S // SAMPLE_RATE, read * S // SAMPLE_RATE, now_ns)

    def heard_by(self, at_ns: int) -> np.ndarray:
        """The left channel of what had come by then."""
        with self._lock:
            data = b"".join(data for arrived_ns, data in self._heard if arrived_ns <= at_ns)
        return np.frombuffer(data, np.int16)[::CHANNEL_COUNT].astype(np.float32)

    def _missing_ms(self, file: Path, stopped_ns: int) -> float:
        reference = inspection.end_of_sound(self.heard_by(stopped_ns)[-SAMPLE_RATE:], self._melody)
        _, sound = inspection.decode(file)
        end = inspection.end_of_sound(sound, self._melody)
        if reference is None or end is None:
            return float("nan")
        lost = (reference - end) % self._period
        return (lost - self._period if lost > self._period // 2 else lost) * 1000 / SAMPLE_RATE

    def tolerated_ms(self, file: Path) -> float:
        """When exactly within what comes at once a sample was captured is known neither to the reader nor to recsvc."""
        return REFERENCE_MS

    def close(self) -> None:
        self._reader.terminate()
        self._thread.join()
        self._reader.wait()


@contextlib.contextmanager
def microphone(work: Workload, made: Path, directory: Path) -> Iterator[Device]:
    with contextlib.ExitStack() as stack:
        environment = stack.enter_context(fixtures_media.pulse_server(directory / "pulse"))
        microphone = [
            "module-remap-source",
            "master=speaker.monitor",
            "source_name=microphone",
        ]  # Chromium takes no monitor
        subprocess.run(["pactl", "load-module", *microphone], env=environment, check=True, stdout=subprocess.DEVNULL)
        environment["PULSE_SOURCE"] = "microphone"
        subprocess.run(["pactl", "set-default-source", "microphone"], env=environment, check=True)
        form = ["--raw", "--format=s16le", f"--rate={SAMPLE_RATE}", f"--channels={CHANNEL_COUNT}"]
        melody = made / "sound.s16"
        player = subprocess.Popen(
            ["pacat", "--playback", *form, "--latency-msec=2000"], env=environment, stdin=subprocess.PIPE
        )
        stack.callback(player.wait)
        stack.callback(player.kill)
        threading.Thread(target=_play, args=(player, melody.read_bytes()), daemon=True).start()
        reader = subprocess.Popen(
            ["parec", *form, f"--latency-msec={REFERENCE_MS}"], env=environment, stdout=subprocess.PIPE
        )
        device = Microphone(environment, reader)
        stack.callback(device.close)
        fixtures_media.wait_until(lambda: device.heard_by(time.monotonic_ns())[-SAMPLE_RATE:].any(), "the melody")
        yield device


def _play(player: subprocess.Popen[bytes], melody: bytes) -> None:
    assert player.stdin is not None
    with contextlib.suppress(OSError):  # it was ended
        while True:
            player.stdin.write(melody)


# --- screen ---------------------------------------------------------------------------------------


class Painter:
    """Counts on an X display, in the cells that the pictures of ``test:`` have too, by X11's protocol itself."""

    def __init__(self, display: str, width: int, height: int) -> None:
        self._cell = width // COLUMNS, height // 2 // ROWS
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.connect(f"/tmp/.X11-unix/X{display.removeprefix(':')}")
        self._socket.sendall(struct.pack("<BxHHHHxx", ord("l"), 11, 0, 0, 0))
        ok, length = struct.unpack("<B5xH", self._exactly(8))
        setup = self._exactly(4 * length)
        assert ok == 1, setup
        base, vendor_bytes, formats = struct.unpack_from("<4xI8xH3xB", setup)
        root = 32 + (vendor_bytes + 3) // 4 * 4 + 8 * formats
        self._root, white, black = struct.unpack_from("<I4xII", setup, root)
        self._contexts = base + 1, base + 2  # for 0 and 1
        for context, colour in zip(self._contexts, (black, white), strict=True):
            self._socket.sendall(struct.pack("<BxHIIII", 55, 5, context, self._root, 1 << 2, colour))
        self._lock = threading.Lock()
        self._painted: deque[tuple[int, int]] = deque(maxlen=REMEMBERED_S * PAINTED_RATE)
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="painter", daemon=True)
        self._thread.start()

    def _exactly(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            more = self._socket.recv(size - len(data))
            assert more, "the X server hung up"
            data += more
        return data

    def _run(self) -> None:
        number = 0
        begin_s = time.monotonic()
        while not self._closing.wait(max(0.0, begin_s + number / PAINTED_RATE - time.monotonic())):
            self._paint(number)
            with self._lock:
                self._painted.append((time.monotonic_ns(), number))
            number += 1

    def _paint(self, number: int) -> None:
        """Returns when it can be seen."""
        width, height = self._cell
        cells: tuple[list[bytes], list[bytes]] = [], []
        for row, byte in enumerate((number >> 8, number & 0xFF, check_byte(number))):
            for column in range(COLUMNS):
                bit = byte >> (COLUMNS - 1 - column) & 1
                cells[bit].append(struct.pack("<hhHH", column * width, row * height, width, height))
        requests = b"".join(
            struct.pack("<BxHII", 70, 3 + 2 * len(some), self._root, context) + b"".join(some)
            for context, some in zip(self._contexts, cells, strict=True)
            if some
        )
        self._socket.sendall(requests + struct.pack("<BxH", 43, 1))
        reply = self._exactly(32)
        assert reply[0] == 1, f"the X server reports error {reply[1]}"

    def shown_until_ns(self, number: int) -> int | None:
        """When it was painted over; ``None``: it is not known, or was not yet."""
        with self._lock:
            return next((at_ns for at_ns, painted in self._painted if painted == number + 1), None)

    def close(self) -> None:
        self._closing.set()
        self._thread.join()
        self._socket.close()


class Screen(Device):
    """A recording's last picture is up to an interval old when it is stopped; only what is older is lost."""

    def __init__(self, display: str, work: Workload, painter: Painter) -> None:
        super().__init__("screen", f"screen:{display}", work, {"DISPLAY": display})
        self._painter = painter

    def _missing_ms(self, file: Path, stopped_ns: int) -> float:
        pictures, _ = inspection.decode(file)
        read = [number for number in pictures if number is not None]
        last_ns = self._painter.shown_until_ns(read[-1]) if read else None
        return float("nan") if last_ns is None else (stopped_ns - last_ns) / 1e6 - 1000 / FRAME_RATE

    def tolerated_ms(self, file: Path) -> float:
        """When a busy machine grabs the screen is not for recsvc to say, but the file has to say it: for so long no
        picture came at its end. Its times are whole milliseconds."""
        with av.open(str(file)) as container:
            assert container.duration is not None
            duration_ms = container.duration / 1e3
            stamps = [packet.pts for packet in container.demux(video=0) if packet.pts is not None]
        return max(0.0, duration_ms - max(stamps) - 1000 / FRAME_RATE) + 2.0


@contextlib.contextmanager
def screen(work: Workload, made: Path, directory: Path) -> Iterator[Device]:
    with fixtures_media.xvfb(f"{work.width}x{work.height}") as display:
        painter = Painter(display, work.width, work.height)
        try:
            yield Screen(display, work, painter)
        finally:
            painter.close()


# --- network camera -------------------------------------------------------------------------------


class Camera(Device):
    """A reader beside notes when each packet comes, and is why the stream never ends."""

    def __init__(self, server: Program, work: Workload) -> None:
        super().__init__("network", server.ready()["url"], work)
        self._lock = threading.Lock()
        self._pictures: deque[tuple[int, bool, bytes]] = deque(maxlen=REMEMBERED_S * FRAME_RATE)
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._read, name="reader", daemon=True)
        self._thread.start()

    def _read(self) -> None:
        with av.open(self.address, options={"rtsp_transport": "tcp"}) as container:
            self.tracks = {stream.type: Arrivals() for stream in container.streams}
            for packet in container.demux():
                if self._closing.is_set():
                    return
                if packet.pts is not None and packet.time_base is not None:
                    now_ns = time.monotonic_ns()
                    begin_ns = int(packet.pts * packet.time_base * S)
                    lasts_ns = S // 50 if packet.stream.type == "audio" else 0
                    self.tracks[packet.stream.type].add(begin_ns, begin_ns + lasts_ns, now_ns)
                    if packet.stream.type == "video":
                        with self._lock:
                            self._pictures.append((now_ns, packet.is_keyframe, bytes(packet)))

    def seen_by(self, at_ns: int) -> int | None:
        """The number in the last picture that had come by then; ``None``: it cannot be read."""
        with self._lock:
            come = [picture for picture in self._pictures if picture[0] <= at_ns]
        begin = max((at for at, (_, is_key, _) in enumerate(come) if is_key), default=len(come))
        decoder = av.CodecContext.create("h264", "r")
        frames = [frame for _, _, data in come[begin:] for frame in decoder.decode(av.Packet(data))]
        frames += decoder.decode(None)
        return inspection.number(frames[-1]) if frames else None

    def _missing_ms(self, file: Path, stopped_ns: int) -> float:
        seen = self.seen_by(stopped_ns)
        pictures, _ = inspection.decode(file)
        if seen is None or not pictures or pictures[-1] is None:
            return float("nan")
        lost = (seen - pictures[-1]) % content.PICTURES
        return (lost - content.PICTURES if lost > content.PICTURES * 3 // 4 else lost) * 1000 / FRAME_RATE

    def close(self) -> None:
        self._closing.set()
        self._thread.join()


@contextlib.contextmanager
def network(work: Workload, made: Path, directory: Path) -> Iterator[Device]:
    (directory / "server").mkdir()
    words = [SYSTEM_PYTHON, str(HERE / "rtsp_server.py"), work.name, str(made)]
    server = Program(words, directory / "server", PYTHONDONTWRITEBYTECODE="1")
    try:
        camera = Camera(server, work)
        try:
            fixtures_media.wait_until(lambda: camera.tracks and all(t.parts for t in camera.tracks.values()), "media")
            yield camera
        finally:
            camera.close()
    finally:
        server.close()


_PROBE = """
import gi
gi.require_version("Gst", "1.0"); gi.require_version("GstRtspServer", "1.0")
from gi.repository import Gst, GstRtspServer
Gst.init(None)
needed = ("appsrc", "x264enc", "rtph264pay", "opusenc", "rtpopuspay")
print(" ".join(name for name in needed if not Gst.ElementFactory.find(name)))
"""


def missing(kind: str) -> str | None:
    """Why there is no such device here, or ``None``."""
    if kind == "network":
        asked = subprocess.run([SYSTEM_PYTHON, "-c", _PROBE], capture_output=True, text=True, timeout=WAIT_S)
        if asked.returncode:
            return "no RTSP server of GStreamer"
        return f"no GStreamer element {asked.stdout.strip()}" if asked.stdout.strip() else None
    return None


KINDS = {"microphone": microphone, "screen": screen, "network": network}
