"""A source: one opened device or input, delivering the frames of up to one audio and one video track.

``open_source`` turns a source string into an opened ``Source``; ``start`` hands it one ``Sink`` per track.
From then on the source's own threads deliver frames until the input ends or ``close`` is called. ``flush``
is what makes a stop complete: it returns once everything captured so far has been delivered.

The libraries behind a kind of source are imported when such a source is opened, not before.
"""

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import NamedTuple, Protocol, Self

from recsvc.capture.constraints import AudioWish, VideoWish, checked_audio, checked_video
from recsvc.common.limits import FRAME_BYTES_MAX
from recsvc.common.media import FRAME_SIDE_MAX, Colours, picture_bytes
from recsvc.common.redact import redacted
from recsvc.errors import NotFoundError, OverconstrainedError

# Protocols of FFmpeg that carry live or stored media over a network. Others (concat, subfile, data, …)
# would let a source string read what the caller did not name.
NETWORK_SCHEMES = (
    "http", "https", "rtmp", "rtmps", "rtmpt", "rtp", "rtsp", "rtsps", "srt", "tcp", "tls", "udp",
)  # fmt: skip
LOCAL_SCHEMES = ("camera", "file", "mic", "screen", "test")

FILE_PARAMETERS = ("pace",)
PACES = ("realtime", "max")

# No path or address is longer (Linux: PATH_MAX is 4096); a longer string is a mistake.
SOURCE_CHARACTERS_MAX = 8192


@dataclass(frozen=True)
class AudioFormat:
    """Interleaved samples: ``s16`` (native-endian int16) or ``f32`` (float32, full scale ±1)."""

    sample_rate: int
    channel_count: int
    sample_format: str

    @property
    def frame_bytes(self) -> int:
        """Bytes of one sample of every channel."""
        return self.channel_count * (2 if self.sample_format == "s16" else 4)


@dataclass(frozen=True)
class VideoFormat:
    """Pictures as they are delivered; ``frame_rate`` in frames per second, ``None``: not known or varying. The display
    size is the same where pixels are squares. Colours as in ``media.Colours``; they do not change in a track."""

    width: int
    height: int
    pixel_format: str
    frame_rate: float | None
    display_width: int
    display_height: int
    color_space: str
    color_primaries: int
    color_transfer: int

    @classmethod
    def of(
        cls,
        size: tuple[int, int],
        pixel_format: str,
        frame_rate: float | None,
        colours: Colours,
        display: tuple[int, int] | None = None,
        wish: VideoWish | None = None,
    ) -> Self:
        """Checks that it can be recorded; ``OverconstrainedError`` naming the size, and the wish that led to it."""
        if max(size) > FRAME_SIDE_MAX or picture_bytes(pixel_format, *size) > FRAME_BYTES_MAX:
            asked = f"{wish.first}: " if wish is not None and (wish.width or wish.height) else ""
            raise OverconstrainedError(
                f"{asked}pictures of {size[0]}x{size[1]} {pixel_format}; at most {FRAME_SIDE_MAX} pixels a side and "
                f"{FRAME_BYTES_MAX} bytes are recorded"
            )
        display = display or size
        space, primaries, transfer = colours
        return cls(*size, pixel_format, frame_rate, *display, space, primaries, transfer)


@dataclass(frozen=True)
class TrackInfo:
    """One track of an opened source."""

    kind: str  # "audio" or "video"
    label: str
    format: AudioFormat | VideoFormat

    @property
    def settings(self) -> dict[str, object]:
        """The format's fields by name, e.g. ``{"sample_rate": 48000, …}``; a new dict."""
        return asdict(self.format)


class Sink(Protocol):
    """Takes the frames of one track. Called from the source's threads and from ``flush``; thread-safe."""

    def audio(self, captured_ns: int, samples: bytes | bytearray | memoryview) -> None:
        """A block of interleaved samples; ``captured_ns`` (``time.monotonic_ns()``) is its first sample's.

        The sink owns ``samples`` from now on; the source never changes it again.
        """

    def video(
        self,
        captured_ns: int,
        picture: bytes | bytearray | memoryview,
        pixel_format: str,
        width: int,
        height: int,
    ) -> None:
        """A tightly packed picture, captured at ``captured_ns``; the sink owns it from now on."""

    def count(self, cause: str, amount: int = 1) -> None:
        """Something to account for happened, e.g. ``device_overflow``."""

    def ended(self, error: Exception | None = None) -> None:
        """The track is over; no frame follows. ``error`` says why when the source did not end by itself."""

    def wait_wanted(self, timeout_s: float) -> bool:
        """Blocks at most ``timeout_s`` until a recording wants frames; whether one does."""


class Source(Protocol):
    """An opened input. Its methods may be called from any thread, but never while holding a lock that a sink
    takes: the source calls its sinks while it holds its own.
    """

    tracks: list[TrackInfo]
    pace_max: bool
    """Delivers as fast as the sinks take it (their calls block), from ``wait_wanted`` on; else real time."""

    def start(self, sinks: Mapping[str, Sink]) -> None:
        """Begins to deliver to ``sinks`` (by track kind; without a sink it is discarded); returns at once."""

    def flush(self, until_ns: int) -> None:
        """Returns when every frame and sample captured at or before ``until_ns`` was given to its sink.

        ``until_ns`` is ``time.monotonic_ns()`` time; a time in the future counts as now. Blocks for a
        bounded time, stated by each kind of source. Capture continues afterwards without a seam.
        """

    def close(self) -> None:
        """Stops and frees everything; idempotent; no sink is called once it has returned. Bounded."""


class ParsedSource(NamedTuple):
    """``scheme:target`` and parameters; of a network address the target is the whole URL."""

    scheme: str
    target: str
    parameters: dict[str, str]


def parse_source(source: str) -> ParsedSource:
    """Takes a source string apart, without looking whether the thing exists. Pure.

    Raises ``TypeError`` when it is not a string, ``ValueError`` for a malformed one or an unknown parameter,
    ``NotFoundError`` for a scheme that no source has.
    """
    if not isinstance(source, str):
        raise TypeError(f"a source is a string such as 'mic:' or 'test:', not {redacted(repr(source))}")
    if len(source) > SOURCE_CHARACTERS_MAX or "\0" in source:
        raise ValueError(
            f"a source has at most {SOURCE_CHARACTERS_MAX} characters and no NUL: {redacted(source)[:80]!r}…"
        )
    scheme, colon, target = source.partition(":")
    scheme = scheme.lower()
    if not colon or not re.fullmatch(r"[a-z][a-z0-9+.-]*", scheme):
        raise ValueError(f"{redacted(source)!r} is not a source; expected one of {_known_schemes()}")
    if scheme == "test":
        return ParsedSource(scheme, "", _parameters(source, target.removeprefix("?")))
    if scheme == "file":
        return _parse_file(source, target)
    if scheme in LOCAL_SCHEMES:
        return ParsedSource(scheme, target.strip(), {})
    if scheme in NETWORK_SCHEMES:
        if not target.startswith("//") or len(target) < 3:
            raise ValueError(f"{redacted(source)!r} has no address; expected {scheme}://host/…")
        return ParsedSource(scheme, source, {})
    raise NotFoundError(f"no source is called {scheme!r} (in {redacted(source)[:200]!r}); known are {_known_schemes()}")


def absolute(source: str, directory: str) -> str:
    """A relative ``file:`` source as seen from this directory, by its absolute path; any other as it is. Pure."""
    try:
        parsed = parse_source(source)
    except (ValueError, NotFoundError):
        return source  # whoever opens it says so
    if parsed.scheme != "file" or parsed.target.startswith("/"):
        return source
    scheme, _, target = source.partition(":")
    return f"{scheme}:{directory.rstrip('/')}/{target}"


def open_source(
    source: str,
    audio: Mapping[str, object] | None,
    video: Mapping[str, object] | None,
) -> Source:
    """Opens ``source`` for the kinds that are not ``None``; an empty dict asks for a kind as it comes.

    ``audio`` knows ``sample_rate`` (Hz), ``channel_count``, ``sample_size`` (16 or 32 bits); ``video`` knows
    ``width``, ``height``, ``frame_rate``. Nothing is delivered before ``start``. Blocks while the device or
    address is opened (each kind of source states its limit).

    Raises ``NotFoundError`` (no such device, file, host, or it has no such track), ``NotReadableError``
    (there, but cannot be read), ``OverconstrainedError`` (cannot do that size or rate),
    ``ValueError``/``TypeError`` (nonsense).
    """
    parsed = parse_source(source)
    audio_wish, video_wish = checked_audio(audio), checked_video(video)
    if audio_wish is None and video_wish is None:
        raise TypeError(f"{redacted(source)!r}: neither audio nor video is asked for")
    return _open(parsed, audio_wish, video_wish)


def _open(parsed: ParsedSource, audio: AudioWish | None, video: VideoWish | None) -> Source:
    if parsed.scheme == "test":
        from recsvc.capture.synthetic import SyntheticSource

        return SyntheticSource(parsed.parameters, audio, video)
    if parsed.scheme == "mic":
        if audio is None or video is not None:
            raise NotFoundError("a microphone ('mic:') has an audio track and no video track")
        from recsvc.capture.microphone import open_microphone

        return open_microphone(parsed.target, audio)
    if parsed.scheme in ("camera", "screen"):
        if video is None or audio is not None:
            raise NotFoundError(f"a {parsed.scheme} ('{parsed.scheme}:') has a video track and no audio track")
        from recsvc.capture.grab import open_grab

        return open_grab(parsed.scheme, parsed.target, video)
    from recsvc.capture.av_input import open_input

    return open_input(parsed, audio, video)


def _parse_file(source: str, target: str) -> ParsedSource:
    """``?name=value`` at the very end are parameters; any other question mark belongs to the path."""
    path, mark, query = target.rpartition("?")
    if not mark or not re.match(r"[A-Za-z_]+=[^/]*$", query):
        path, query = target, ""
    if path.startswith("///"):  # file:///path, as a URL
        path = path[2:]
    if not path:
        raise ValueError(f"{source!r} names no file; expected file:PATH")
    parameters = _parameters(source, query)
    unknown = sorted(set(parameters) - set(FILE_PARAMETERS))
    if unknown:
        raise ValueError(f"{source!r}: unknown parameter {', '.join(unknown)}; known: {', '.join(FILE_PARAMETERS)}")
    if parameters.get("pace", "realtime") not in PACES:
        raise ValueError(f"{source!r}: pace is one of {', '.join(PACES)}, not {parameters['pace']!r}")
    return ParsedSource("file", path, parameters)


def _parameters(source: str, query: str) -> dict[str, str]:
    parameters: dict[str, str] = {}
    for part in filter(None, query.split("&")):
        name, equals, value = part.partition("=")
        if not (name and equals and value):
            raise ValueError(f"{source!r}: expected name=value, not {part!r}")
        if name in parameters:
            raise ValueError(f"{source!r}: {name} is given twice")
        parameters[name] = value
    return parameters


def _known_schemes() -> str:
    local = ", ".join(f"{scheme}:" for scheme in LOCAL_SCHEMES)
    return f"{local}, {', '.join(f'{scheme}://' for scheme in NETWORK_SCHEMES)}"
