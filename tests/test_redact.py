"""Passwords and tokens of sources are never shown: not in errors, logs, labels, nor in the process list."""

import contextlib
import logging
import secrets
import traceback
from pathlib import Path

import pytest
from fixtures_media import free_port, mpegts_server

import recsvc
from recsvc.capture.opening import open_source
from recsvc.common.redact import redacted
from recsvc.common.sources import parse_source
from recsvc.wire import messages

SECRET = "s3cr3t"


@pytest.mark.parametrize(
    ("source", "shown"),
    [
        # nothing to hide
        ("rtsp://camera/stream", "rtsp://camera/stream"),
        ("rtsp://camera:554/a/b.sdp", "rtsp://camera:554/a/b.sdp"),
        ("http://[fe80::1]:8080/live", "http://[fe80::1]:8080/live"),
        ("http://host/@channel/live", "http://host/@channel/live"),
        ("udp://239.0.0.1:1234", "udp://239.0.0.1:1234"),
        # users and passwords
        ("rtsp://user:s3cr3t@camera/stream", "rtsp://***@camera/stream"),
        ("rtsp://s3cr3t@camera/stream", "rtsp://***@camera/stream"),
        ("rtsp://user:@camera/stream", "rtsp://***@camera/stream"),
        ("rtsp://:s3cr3t@camera:554", "rtsp://***@camera:554"),
        ("RTSP://user:s3cr3t@camera/stream", "RTSP://***@camera/stream"),
        ("rtsp://user:p@s3cr3t@camera/stream", "rtsp://***@camera/stream"),
        ("rtsp://user:a:b:s3cr3t@camera:554/stream", "rtsp://***@camera:554/stream"),
        ("rtsp://user:%40%2Fs3cr3t%3A@camera/stream", "rtsp://***@camera/stream"),
        ("http://user:s3cr3t@[::1]:8080/live", "http://***@[::1]:8080/live"),
        ("http://user:s3cr3t@[fe80::1%25eth0]/live", "http://***@[fe80::1%25eth0]/live"),
        ("rtsp://user:?s3cr3t#@camera/stream", "rtsp://***@camera/stream"),
        ("rtsp://user:a/s3cr3t@camera/stream", "rtsp://***@camera/stream"),
        ("rtsp://user:1/s3cr3t/@camera/stream", "rtsp://***@camera/stream"),
        ("rtsp://üser:s3cr3t@kamera/straße", "rtsp://***@kamera/straße"),
        # parameters
        ("srt://host:9000?passphrase=s3cr3t&mode=caller", "srt://host:9000?passphrase=***&mode=***"),
        ("http://host/live.m3u8?token=s3cr3t", "http://host/live.m3u8?token=***"),
        ("http://host/live?s3cr3t", "http://host/live?***"),
        ("http://host/live?a=s3cr3t=s3cr3t;b=s3cr3t", "http://host/live?a=***;b=***"),
        ("http://host/live#s3cr3t", "http://host/live#***"),
        ("http://host/live?a=1#token=s3cr3t", "http://host/live?a=***#token=***"),
        ("http://user:s3cr3t@host?token=s3cr3t", "http://***@host?token=***"),
        ("http://host/live?to=s3cr3t@x&b=s3cr3t/s3cr3t", "http://host/live?to=***&b=***"),
        # mistyped
        ("rtsp:user:s3cr3t@camera/stream", "***@camera/stream"),
        ("rtsp:/user:s3cr3t@camera/stream", "***@camera/stream"),
        ("user:s3cr3t@camera/stream", "***@camera/stream"),
        ("ftp://user:s3cr3t@host/file", "ftp://***@host/file"),
        # words around it
        ("rtsp://user:s3cr3t@a/b: refused, not 'http://u:s3cr3t@c/d?e=s3cr3t'", None),
        ("[Errno 111] refused: 'rtsp://user:s3cr3t@a/b?c=s3cr3t'", "[Errno 111] refused: 'rtsp://***@a/b?c=***'"),
        # sources that are no addresses
        ("file:/home/me@work/a?b.webm", "file:/home/me@work/a?b.webm"),
        ("file:///home/a.webm?pace=max", "file:///home/a.webm?pace=max"),
        ("test:pattern=counter&seed=7", "test:pattern=counter&seed=7"),
        ("mic:USB @ home", "mic:USB @ home"),
        ("", ""),
    ],
)
def test_what_is_shown_of_a_source(source, shown):
    assert SECRET not in redacted(source)
    if shown is not None:
        assert redacted(source) == shown
        assert redacted(shown) == shown, "once is enough"


@pytest.mark.parametrize(
    "source",
    [
        "rtsp:user:s3cr3t@camera",
        "user:s3cr3t@camera",
        "ftp://user:s3cr3t@host/file",
        "rtsp://user:s3cr3t@camera/" + "x" * 9000,
        "rtsp://user:s3cr3t@camera\0",
        "*rtsp://user:s3cr3t@camera",
    ],
)
def test_a_source_that_is_refused_is_named_without_its_password(source):
    with pytest.raises((ValueError, recsvc.errors.NotFoundError)) as caught:
        parse_source(source)
    assert SECRET not in str(caught.value)


def test_a_source_opened_for_nothing_is_named_without_its_password():
    with pytest.raises(TypeError) as caught:
        open_source("rtsp://user:s3cr3t@camera", None, None)
    assert SECRET not in str(caught.value)


def test_a_wish_of_the_wrong_type_is_named_without_its_password():
    for wish in (b"rtsp://user:s3cr3t@camera", ["rtsp://user:s3cr3t@camera"], {"source": b"rtsp://user:s3cr3t@c"}):
        with pytest.raises(TypeError) as caught:
            recsvc.get_user_media(video=wish)
        assert SECRET not in str(caught.value)


def test_a_request_shows_no_password_in_a_log():
    wish = {"source": "rtsp://user:s3cr3t@camera?token=s3cr3t", "width": 640}
    request = messages.OpenSource(id=1, audio=wish, video={"source": 5})
    options = messages.RecordingOptions(mime_type="", audio_bits_per_second=1, video_bits_per_second=1)
    assert SECRET not in repr(messages.Record(recording="r", options=options, audio=wish))
    assert SECRET not in f"{request} {request!r}" and "camera" in str(request) and "640" in str(request)


def test_an_address_where_nothing_listens_is_named_without_its_password(own_controller, caplog, capfd):
    caplog.set_level(logging.DEBUG)
    source = f"rtsp://user:{SECRET}@127.0.0.1:{free_port()}/stream?token={SECRET}"
    with pytest.raises(recsvc.errors.NotFoundError) as caught:
        recsvc.get_user_media(audio=source, video=source)
    assert "rtsp://***@127.0.0.1:" in str(caught.value) and "stream?token=***" in str(caught.value)
    with pytest.raises(recsvc.errors.NotFoundError) as caught_here:
        open_source(source, {}, {})
    output = capfd.readouterr()
    for text in (str(caught.value), str(caught_here.value), chain(caught_here.value), caplog.text, *output):
        assert SECRET not in text


def chain(error: BaseException) -> str:
    return "".join(traceback.format_exception(error))


def test_a_label_and_the_process_list_show_no_password(own_controller, caplog):
    with mpegts_server() as (url, _):
        secret = secrets.token_hex(8)
        source = url.replace("://", f"://user:{secret}@")
        with recsvc.get_user_media(video=source) as stream:
            (track,) = stream.get_video_tracks()
            assert track.label == url.replace("://", "://***@")
            assert secret not in repr(track) and secret not in repr(stream)
            assert all(secret not in line for line in command_lines())
    assert secret not in caplog.text


def command_lines() -> list[str]:
    found = []
    for directory in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it may have ended
            found.append((directory / "cmdline").read_text(errors="replace"))
    return found
