"""What to record, and how: the options that ``recsvc record`` and ``recsvc start`` share."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

from .app import Option


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """Each field is an option, in the order of the help."""

    audio: Annotated[
        str | None, Option("--audio", metavar="SOURCE", help="mic:, mic:NAME, file:PATH, test: or a URL.")
    ] = None
    video: Annotated[
        str | None, Option("--video", metavar="SOURCE", help="camera:/dev/video0, screen:, file:PATH, test: or a URL.")
    ] = None
    type: Annotated[
        str, Option(metavar="MIME", help="One of `recsvc types`. By default WebM; where there is a FILE, as that ends.")
    ] = ""
    audio_bitrate: Annotated[int | None, Option(metavar="BITS/S", help="By default 128000.")] = None
    video_bitrate: Annotated[int | None, Option(metavar="BITS/S", help="By default 2500000.")] = None
    width: Annotated[int | None, Option(metavar="PIXELS", help="Width of the pictures.")] = None
    height: Annotated[int | None, Option(metavar="PIXELS", help="Height of the pictures.")] = None
    frame_rate: Annotated[float | None, Option(metavar="1/S", help="Pictures per second.")] = None
    sample_rate: Annotated[int | None, Option(metavar="HZ", help="Sample rate of the sound.")] = None
    channels: Annotated[int | None, Option(metavar="N", help="Channels of the sound.")] = None
    copy: Annotated[
        bool, Option("--copy", help="Record what files and network streams bring as it is, without encoding it again.")
    ] = False

    def wishes(self) -> dict[str, dict[str, Any] | None]:
        """Constraints by kind. ``ValueError`` for one of a kind that is not recorded."""
        return {
            "audio": self._wish("--audio", self.audio, sample_rate=self.sample_rate, channels=self.channels),
            "video": self._wish(
                "--video", self.video, width=self.width, height=self.height, frame_rate=self.frame_rate
            ),
        }

    def _wish(self, option: str, source: str | None, **constraints: Any) -> dict[str, Any] | None:
        given = {name: value for name, value in constraints.items() if value is not None}
        if source is None and given:
            names = ", ".join(f"--{name.replace('_', '-')}" for name in given)
            raise ValueError(f"{names} without {option}: say what it is for, such as {option} test:")
        if source is None:
            return None
        encoded = {"encoded": True} if self.copy else {}
        return {"source": source, **encoded, **{_CONSTRAINTS.get(n, n): v for n, v in given.items()}}

    def encoding(self) -> dict[str, Any]:
        """Arguments of the same names everywhere."""
        return {
            "mime_type": self.type,
            "audio_bits_per_second": self.audio_bitrate,
            "video_bits_per_second": self.video_bitrate,
        }


_CONSTRAINTS = {"channels": "channel_count"}  # where an option has another name


def takes_wanted(command: Callable[..., None]) -> Callable[..., None]:
    """A command whose first parameter is a ``Wanted`` as typer is to see it: with the options in its place."""
    _, *others = inspect.signature(command, eval_str=True).parameters.values()
    options = inspect.signature(Wanted, eval_str=True).parameters
    by_name = [one.replace(kind=inspect.Parameter.KEYWORD_ONLY) for one in (*options.values(), *others)]

    @functools.wraps(command)
    def run(**given: Any) -> None:
        command(Wanted(**{name: given.pop(name) for name in options}), **given)

    run.__signature__ = inspect.Signature(by_name)  # type: ignore[attr-defined]
    return run
