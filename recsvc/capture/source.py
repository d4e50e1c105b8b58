"""What a source delivers, and where to: tracks with their formats, and one sink per track."""

from dataclasses import asdict, dataclass
from typing import Any, Protocol, Self

from ..common.constraints import VideoWish
from ..common.limits import FRAME_BYTES_MAX
from ..common.media import FRAME_SIDE_MAX, Colours, picture_bytes
from ..common.media import AudioFormat as AudioFormat
from ..errors import OverconstrainedError
from ..wire.frames import Packet


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
class PacketFormat:
    """Packets as the source has them; ``settings`` are the track's, with its ``codec``. ``preroll``: how many seconds
    before its start a recording of pictures may begin."""

    settings: dict[str, Any]
    preroll: float = 0.0

    @property
    def frame_rate(self) -> float | None:
        return self.settings.get("frame_rate")


@dataclass(frozen=True)
class TrackInfo:
    """One track of an opened source."""

    kind: str
    """``"audio"`` or ``"video"``."""
    label: str
    format: AudioFormat | VideoFormat | PacketFormat

    @property
    def settings(self) -> dict[str, object]:
        """The format's fields by name, e.g. ``{"sample_rate": 48000, …}``; a new dict."""
        return dict(self.format.settings) if isinstance(self.format, PacketFormat) else asdict(self.format)


class Sink(Protocol):
    """Takes the frames of one track. Called from the source's threads and from ``flush``; thread-safe."""

    def audio(self, captured_ns: int, samples: bytes | memoryview) -> None:
        """A block of interleaved samples; ``captured_ns`` (``time.monotonic_ns()``) is its first sample's.

        The sink owns ``samples`` from now on; the source never changes it again.
        """

    def video(self, captured_ns: int, picture: bytes | memoryview, pixel_format: str, width: int, height: int) -> None:
        """A tightly packed picture, captured at ``captured_ns``; the sink owns it from now on."""

    def packet(self, packet: Packet) -> None:
        """A packet of a track that comes encoded; ``captured_ns`` is when it was captured, of pictures by the times at
        which they are decoded."""

    def moved(self, by_ns: int) -> None:
        """All packets so far were captured so much later than was said (below 0: earlier); no recording has any."""

    def count(self, cause: str, amount: int = 1) -> None:
        """Something to account for happened, e.g. ``device_overflow``."""

    def ended(self, error: Exception | None = None) -> None:
        """The track is over; no frame follows. ``error`` says why when the source did not end by itself."""

    @property
    def is_recorded(self) -> bool:
        """Whether a recording has the track, paused or not."""

    def wait_wanted(self, timeout_s: float) -> bool:
        """Blocks at most ``timeout_s`` until a recording wants frames; whether one does."""
