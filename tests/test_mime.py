"""Which types can be recorded and what they mean."""

import pytest

from recsvc.common import mime
from recsvc.errors import NotSupportedError


@pytest.mark.parametrize(
    "text",
    [
        "",
        *mime.SUPPORTED_TYPES,
        "video/webm",
        "VIDEO/WebM; codecs=VP8",
        'video/webm;codecs="vp9,opus"',
        "video/webm; codecs=vp9.0; foo=bar",
        "video/webm;codecs=vp09.00.10.08,opus",
        "audio/ogg",
        "video/webm;codecs=opus",
    ],
)
def test_supported(text: str) -> None:
    assert mime.is_type_supported(text)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("nonsense", "MIME"),
        ("video/mp4", "video/mp4"),
        ("audio/webm;codecs=vp8", "vp8"),
        ("audio/ogg;codecs=vorbis", "vorbis"),
        ("video/webm;codecs=vp8,vp9", "more than one video"),
        ("video/webm;codecs=opus,opus", "more than one audio"),
        ("video/webm;codecs=h264", "h264"),
        ("video/webm;codecs", "parameter"),
        ("video/webm;codecs=", "parameter"),
        ("/", "MIME"),
    ],
)
def test_not_supported_says_why(text: str, reason: str) -> None:
    assert not mime.is_type_supported(text)
    with pytest.raises(NotSupportedError, match=reason):
        mime.require_supported(text)


@pytest.mark.parametrize("value", [None, 3, b"video/webm"])
def test_a_type_is_a_string(value: object) -> None:
    with pytest.raises(TypeError):
        mime.is_type_supported(value)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "kinds", "full", "suffix"),
    [
        ("", {"audio", "video"}, "video/webm;codecs=vp8,opus", ".webm"),
        ("", {"audio"}, "audio/webm;codecs=opus", ".webm"),
        ("", {"video"}, "video/webm;codecs=vp8", ".webm"),
        ("video/webm;codecs=vp9", {"video"}, "video/webm;codecs=vp9", ".webm"),
        ("video/webm;codecs=opus,vp9", {"audio", "video"}, "video/webm;codecs=vp9,opus", ".webm"),
        ("audio/ogg", {"audio"}, "audio/ogg;codecs=opus", ".ogg"),
        ("video/x-matroska", {"audio", "video"}, "video/x-matroska;codecs=vp8,opus", ".mkv"),
        ("video/webm", {"audio"}, "video/webm;codecs=opus", ".webm"),
        ("video/webm;name=opus;codecs=vp9;codecs=vp8", {"video"}, "video/webm;codecs=vp9", ".webm"),
        ("video/webm;codecs=vp9 ; ", {"video"}, "video/webm;codecs=vp9", ".webm"),
    ],
)
def test_choice(text: str, kinds: set[str], full: str, suffix: str) -> None:
    chosen = mime.choose(text, kinds)
    assert (chosen.mime_type, chosen.suffix) == (full, suffix)
    codec = full.partition("codecs=")[2].split(",")[0]
    assert chosen.video_codec == (None if codec == "opus" else codec)


@pytest.mark.parametrize(
    ("text", "kinds", "track"),
    [
        ("audio/webm", {"audio", "video"}, "video"),
        ("audio/ogg", {"video"}, "video"),
        ("video/webm;codecs=vp8", {"audio", "video"}, "audio"),
        ("video/webm;codecs=opus", {"video"}, "video"),
    ],
)
def test_a_track_that_does_not_fit_is_named(text: str, kinds: set[str], track: str) -> None:
    with pytest.raises(NotSupportedError, match=f"{track} track"):
        mime.choose(text, kinds)


@pytest.mark.parametrize(
    ("text", "container", "suffix"),
    [
        ("video/webm;codecs=vp9", "webm", ".webm"),
        ("audio/webm", "webm", ".webm"),
        ("audio/ogg", "ogg", ".ogg"),
        ("video/x-matroska", "matroska", ".mkv"),
    ],
)
def test_a_type_has_a_container_and_a_suffix(text: str, container: str, suffix: str) -> None:
    assert (mime.container(text), mime.suffix(text)) == (container, suffix)
    with pytest.raises(NotSupportedError):
        mime.container("video/mp4")


def test_the_longest_type_that_is_read() -> None:
    text = "video/webm;codecs=vp8;x="
    longest = text + "a" * (1000 - len(text))
    assert mime.is_type_supported(longest)
    assert not mime.is_type_supported(longest + "a")
