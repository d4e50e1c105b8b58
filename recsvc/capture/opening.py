"""Opens a source by its string. The libraries of a kind of source are imported when one is opened, not before."""

from collections.abc import Mapping

from ..common.constraints import checked_audio, checked_video
from ..common.redact import redacted
from ..common.sources import parse_source
from ..errors import NotFoundError, OverconstrainedError
from .running import Source


def open_source(source: str, audio: Mapping[str, object] | None, video: Mapping[str, object] | None) -> Source:
    """Opens ``source`` for the kinds that are not ``None``; an empty dict asks for a kind as it comes.

    ``audio`` may have ``sample_rate`` (Hz), ``channel_count``, ``sample_size`` (16 or 32 bits); ``video``
    ``width``, ``height``, ``frame_rate``; or either ``encoded``, beside it pictures ``preroll`` (s). Nothing is
    delivered before ``start``. Blocks while the device or address is opened (each kind of source states its limit).

    Raises ``NotFoundError`` (no such device, file, host, or it has no such track), ``NotReadableError``
    (there, but cannot be read), ``OverconstrainedError`` (cannot do that size or rate),
    ``ValueError``/``TypeError`` (nonsense).
    """
    parsed = parse_source(source)
    sound, pictures = checked_audio(audio), checked_video(video)
    is_raw = parsed.scheme in ("test", "mic", "camera", "screen")
    if is_raw and ((sound is not None and sound.encoded) or (pictures is not None and pictures.encoded)):
        raise OverconstrainedError(
            f"encoded: what a source of kind {parsed.scheme}: brings is raw; files and network streams come encoded"
        )
    if sound is None and pictures is None:
        raise TypeError(f"{redacted(source)!r}: neither audio nor video is asked for")
    if parsed.scheme == "test":
        from .synthetic import SyntheticSource

        return SyntheticSource(parsed.parameters, sound, pictures)
    if parsed.scheme == "mic":
        if sound is None or pictures is not None:
            raise NotFoundError("a microphone ('mic:') has an audio track and no video track")
        from .microphone import open_microphone

        return open_microphone(parsed.target, sound)
    if parsed.scheme in ("camera", "screen"):
        if pictures is None or sound is not None:
            raise NotFoundError(f"a {parsed.scheme} ('{parsed.scheme}:') has a video track and no audio track")
        from .grab import open_grab

        return open_grab(parsed.scheme, parsed.target, pictures)
    from .av_input import open_input

    return open_input(parsed, sound, pictures)
