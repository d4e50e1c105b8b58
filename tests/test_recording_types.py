"""What comes out: a file of each type, and the Blob that holds it; what a recorder and its sources refuse."""

import errno
import gc
import io
import os
import tempfile
from pathlib import Path

import ebml
import numpy as np
import pytest
from fixtures_media import wait_until
from media import (
    DEADLINE_S,
    SMALL_TEST,
    S,
    assert_accounted,
    assert_consecutive,
    complaints,
    counter_picture,
    decode,
    finished,
    record_for,
)

import recsvc
from recsvc.errors import InvalidStateError, NotReadableError


@pytest.fixture(scope="module")
def stream():
    """Shared: no test of this module ends its tracks."""
    with recsvc.get_user_media(audio=SMALL_TEST, video=SMALL_TEST) as opened:
        yield opened


@pytest.fixture
def recorded():
    """Makes short recordings of pushed pictures; they live as long as the Blob that is returned."""

    def record(count=20):
        source = recsvc.VideoSource(160, 120, when_full="wait")
        recorder = recsvc.MediaRecorder(recsvc.MediaStream([source.track]))
        recorder.start()
        for number in range(count):
            assert source.write(counter_picture(number), number * S // 30)
        return finished(recorder)

    return record


# --- types ----------------------------------------------------------------------------------------

VP8_OPUS, VP9_OPUS = ({"video": codec, "audio": "opus"} for codec in ("vp8", "vp9"))
# The type given, the tracks, the full type, the file's ending, what a demuxer calls it, the codecs.
TYPES = [
    ("", "av", "video/webm;codecs=vp8,opus", ".webm", "webm", VP8_OPUS),
    ("", "a", "audio/webm;codecs=opus", ".webm", "webm", {"audio": "opus"}),
    ("", "v", "video/webm;codecs=vp8", ".webm", "webm", {"video": "vp8"}),
    ("video/webm;codecs=vp8,opus", "av", None, ".webm", "webm", VP8_OPUS),
    ("video/webm;codecs=vp9,opus", "av", None, ".webm", "webm", VP9_OPUS),
    ('Video/WebM; codecs="VP9, opus"', "av", "video/webm;codecs=vp9,opus", ".webm", "webm", VP9_OPUS),
    ("video/webm;codecs=vp9", "v", None, ".webm", "webm", {"video": "vp9"}),
    ("audio/webm", "a", "audio/webm;codecs=opus", ".webm", "webm", {"audio": "opus"}),
    ("audio/ogg", "a", "audio/ogg;codecs=opus", ".ogg", "ogg", {"audio": "opus"}),
    ("video/x-matroska", "av", "video/x-matroska;codecs=vp8,opus", ".mkv", "matroska", VP8_OPUS),
    ("video/x-matroska;codecs=vp9", "v", None, ".mkv", "matroska", {"video": "vp9"}),
]


@pytest.mark.parametrize(("given", "kinds", "full", "suffix", "doc_type", "codecs"), TYPES)
def test_a_recording_of_each_type(given, kinds, full, suffix, doc_type, codecs, stream, spool, tmp_path):
    full = full or given
    tracks = [track for track in stream.get_tracks() if track.kind[0] in kinds]
    recorder = recsvc.MediaRecorder(recsvc.MediaStream(tracks), mime_type=given)
    assert recorder.mime_type == given
    seen = []
    recorder.onstart = lambda event: seen.append(recorder.mime_type)
    recorder.start()
    recorder.wait("start", DEADLINE_S)
    assert seen == [full]
    [file] = spool.iterdir()
    assert file.suffix == suffix
    wait_until(lambda: recorder.statistics().duration > 0.3, "0.3 s of media", DEADLINE_S)
    blob = finished(recorder)
    assert recorder.mime_type == given
    assert blob.type == full
    decoded = decode(blob)
    assert decoded.codecs == codecs
    assert_accounted(recorder.statistics(), decoded)
    if "v" in kinds:
        assert_consecutive(decoded.counters)
    data = blob.bytes()
    assert data[:4] == (b"OggS" if doc_type == "ogg" else b"\x1aE\xdf\xa3")
    if doc_type != "ogg":
        assert ebml.read(data).doc_type == doc_type
    path = blob.save(tmp_path / f"file{suffix}")
    assert complaints(path) == []
    if doc_type != "ogg":  # whose length is that of the last page, as libavformat has it with the pre-skip
        assert abs(decoded.duration_s - blob.duration) < 0.002


# --- what is refused ------------------------------------------------------------------------------


def test_what_is_no_stream_is_refused():
    for wrong in (None, 7, "test:", []):
        with pytest.raises(TypeError, match="stream"):
            recsvc.MediaRecorder(wrong)


def test_push_sources_refuse_what_does_not_fit():
    video, audio = recsvc.VideoSource(160, 120), recsvc.AudioSource(48_000, 2)
    recorder = recsvc.MediaRecorder(recsvc.MediaStream([video.track, audio.track]))
    recorder.start()
    with pytest.raises(ValueError, match="100 bytes.*160x120 i420 takes 28800"):
        video.write(bytes(100))
    with pytest.raises(ValueError, match="5 bytes.*multiple of 4"):
        audio.write(bytes(5))
    for wrong in ("text", None, 7, [1, 2]):
        with pytest.raises(TypeError):
            video.write(wrong)
    with pytest.raises(TypeError, match="'now'"):
        video.write(counter_picture(0), "now")
    with pytest.raises(TypeError, match="'d'"):
        audio.write(np.zeros((10, 2), np.float64))
    with pytest.raises(ValueError, match="out of range"):
        video.write(counter_picture(0), 2**70)
    assert video.write(counter_picture(0)) and audio.write(np.zeros((960, 2), np.int16))
    finished(recorder)
    video.end()
    video.end()
    assert video.track.ready_state == "ended"
    with pytest.raises(InvalidStateError, match="end"):
        video.write(counter_picture(0))


@pytest.mark.parametrize(
    ("make", "error", "text"),
    [
        (lambda: recsvc.AudioSource(7_999, 1), ValueError, "7999"),
        (lambda: recsvc.AudioSource(48_000, 9), ValueError, "9"),
        (lambda: recsvc.AudioSource(48_000.5, 1), TypeError, "48000.5"),
        (lambda: recsvc.AudioSource(48_000, 1, "u8"), ValueError, "'u8'"),
        (lambda: recsvc.AudioSource(48_000, 1, when_full="later"), ValueError, "'later'"),
        (lambda: recsvc.VideoSource(0, 120), ValueError, "0"),
        (lambda: recsvc.VideoSource(160, 16_384), ValueError, "16384"),
        (lambda: recsvc.VideoSource("160", 120), TypeError, "'160'"),
        (lambda: recsvc.VideoSource(160, 120, "yuyv"), ValueError, "'yuyv'"),
        (lambda: recsvc.get_user_media(), TypeError, "neither"),
        (lambda: recsvc.get_user_media(audio=7), TypeError, "7"),
        (lambda: recsvc.get_user_media(video={"source": 7}), TypeError, "7"),
        (lambda: recsvc.get_user_media(video={"source": "test:", "width": -5}), ValueError, "-5"),
        (lambda: recsvc.get_user_media(video={"source": "test:", "widht": 5}), ValueError, "widht"),
        (lambda: recsvc.get_user_media(video="test:colour=red"), ValueError, "colour"),
        (lambda: recsvc.get_user_media(video="tset:"), recsvc.errors.NotFoundError, "tset"),
        (lambda: recsvc.get_user_media(video="file:/no/such/file"), recsvc.errors.NotFoundError, "/no/such/file"),
        (lambda: recsvc.get_user_media(video="test:", service="nowhere"), ValueError, "'nowhere'"),
        (lambda: recsvc.MediaStream(["track"]), TypeError, "'track'"),
    ],
)
def test_sources_and_streams_name_what_they_refuse(make, error, text):
    with pytest.raises(error) as raised:
        make()
    assert text in str(raised.value)


# --- Blob -----------------------------------------------------------------------------------------


def test_a_blob_reads_as_a_file_and_in_slices(recorded):
    blob = recorded()
    data = blob.bytes()
    assert blob.size == len(blob) == len(data) > 1000
    for start, end in [(0, None), (10, 20), (-10, None), (5, -5), (-(10**9), 10**9), (20, 10), (10**9, None), (0, 0)]:
        piece = blob.slice(start, end, "text/plain")
        assert piece.bytes() == data[start:end], (start, end)
        assert (piece.size, piece.type) == (len(data[start:end]), "text/plain")
    assert blob.slice(100, 900).slice(-100, 750).bytes() == data[100:900][-100:750]
    for size in (1, 100, 999, 10**6):
        chunks = list(blob.slice(0, 2000).stream(size))
        assert b"".join(chunks) == data[:2000] and max(map(len, chunks)) <= size
    joined = recsvc.Blob([b"before", blob, bytearray(b"between"), blob.slice(7, 70), memoryview(b"behind")])
    expected = b"before" + data + b"between" + data[7:70] + b"behind"
    assert joined.bytes() == expected
    for whole, content in ((blob, data), (joined, expected)):
        with whole.open() as file:
            assert file.read(5) == content[:5]
            for position in (0, 3, 6, len(content) // 2, len(content) - 1, len(content), len(content) + 10):
                assert file.seek(position) == position
                assert file.read(97) == content[position : position + 97]
            assert file.seek(-9, os.SEEK_END) == len(content) - 9
            assert file.read() == content[-9:]
            with pytest.raises((ValueError, OSError)):
                file.seek(-1)
            with pytest.raises(io.UnsupportedOperation):
                file.write(b"x")


def test_a_blob_of_bytes_and_the_empty_blob(tmp_path):
    blob = recsvc.Blob([b"abc", bytearray(b"def"), np.frombuffer(b"ghi", np.uint8)], type="text/plain")
    assert (blob.size, blob.type, blob.bytes(), blob.duration) == (9, "text/plain", b"abcdefghi", 0.0)
    assert recsvc.Blob([blob, b"!"]).bytes() == b"abcdefghi!"
    changing = bytearray(b"abc")
    kept = recsvc.Blob([changing])
    changing[:] = b"xyz"
    assert kept.bytes() == b"abc", "bytes are copied"
    empty = recsvc.Blob()
    assert (empty.size, empty.type, empty.bytes(), list(empty.stream())) == (0, "", b"", [])
    assert empty.save(tmp_path / "empty").read_bytes() == b""
    assert blob.save(tmp_path / "text").read_bytes() == b"abcdefghi"


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda: recsvc.Blob("text"), TypeError),
        (lambda: recsvc.Blob(b"bytes"), TypeError),
        (lambda: recsvc.Blob(recsvc.Blob()), TypeError),
        (lambda: recsvc.Blob(["text"]), TypeError),
        (lambda: recsvc.Blob([7]), TypeError),
        (lambda: recsvc.Blob(7), TypeError),
        (lambda: recsvc.Blob([], type=7), TypeError),
        (lambda: recsvc.Blob().stream(0), ValueError),
        (lambda: recsvc.Blob().stream(1.5), TypeError),
        (lambda: recsvc.Blob().slice("a"), TypeError),
        (lambda: recsvc.Blob().save("/no/such/directory/file"), FileNotFoundError),
        (lambda: recsvc.Blob([b"x"]).save(tempfile.gettempdir()), OSError),
    ],
)
def test_blobs_refuse_nonsense(call, error):
    with pytest.raises(error):
        call()


def test_moving_on_the_same_file_system_copies_no_byte(recorded, spool, monkeypatch):
    """The file gets another name: the way that copies is closed."""

    def copied(*_):
        pytest.fail("the bytes were copied")

    monkeypatch.setattr("recsvc.caller.content.Content.write", copied)
    blob = recorded()
    data = blob.bytes()
    target = spool.parent / "saved.webm"
    target.write_bytes(b"what was there")
    assert blob.save(target, move=True) == target
    assert target.read_bytes() == data == blob.bytes()
    assert target.stat().st_mode & 0o777 == 0o666 & ~_umask()
    assert list(spool.iterdir()) == []
    target.unlink()
    assert sorted(path.name for path in spool.parent.iterdir()) == ["run", "spool"], "no temporary file stays"


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_saving_to_another_file_system_copies(recorded):
    blob = recorded()
    with tempfile.TemporaryDirectory(dir="/dev/shm", prefix="rst-") as directory:
        target = blob.save(Path(directory, "saved.webm"))
        assert target.read_bytes() == blob.bytes()
        assert decode(target).counters == list(range(20))
        part = blob.slice(3, 3000).save(Path(directory, "part"))
        assert part.read_bytes() == blob.bytes()[3:3000]
        assert len(list(Path(directory).iterdir())) == 2


def test_saving_replaces_at_once_or_not_at_all(recorded, spool, tmp_path):
    blob = recorded()
    [file] = spool.iterdir()
    directory = tmp_path / "full"
    directory.mkdir()
    (directory / "saved.webm").mkdir()
    (directory / "saved.webm" / "inside").touch()
    with pytest.raises(OSError) as raised:
        blob.save(directory / "saved.webm")
    assert raised.value.errno in (errno.EISDIR, errno.ENOTEMPTY, errno.EEXIST)
    assert [path.name for path in directory.iterdir()] == ["saved.webm"], "no temporary file stays"
    del blob, raised
    gc.collect()
    file.unlink()  # what could not be saved stays


def test_a_blob_outlives_recorder_and_stream_and_its_file_goes_with_the_last(recorded, spool, tmp_path):
    blob = recorded()  # its recorder, stream and source are gone
    gc.collect()
    [file] = spool.iterdir()
    piece, reader = recsvc.Blob([blob.slice(100, 200)]), blob.open()
    data = blob.bytes()
    saved = blob.save(tmp_path / "saved.webm")
    del blob
    gc.collect()
    assert file.exists() and reader.read() == data
    del reader
    gc.collect()
    assert file.exists() and piece.bytes() == data[100:200]
    del piece
    gc.collect()
    assert not file.exists()
    assert saved.read_bytes() == data, "what was saved stays"
    assert decode(saved).counters == list(range(20))


def test_a_file_cut_short_by_someone_else_is_an_error(recorded, spool):
    blob = recorded()
    [file] = spool.iterdir()
    os.truncate(file, 500)
    with pytest.raises(NotReadableError):
        blob.bytes()
    with pytest.raises(NotReadableError):
        blob.save(spool.parent / "never")
    assert not (spool.parent / "never").exists()
    del blob
    gc.collect()
    file.unlink()  # what could not be saved stays


def test_the_blob_of_an_event_and_the_recording_share_one_file(stream, spool):
    recorder = recsvc.MediaRecorder(stream)
    recorder.start()
    recorder.stop()
    event = recorder.wait("dataavailable", DEADLINE_S)
    recorder.wait("stop", DEADLINE_S)
    assert event.data.bytes() == recorder.recording.bytes()
    assert len(list(spool.iterdir())) == 1
    assert event.timecode == 0.0
    with pytest.raises(AttributeError):
        event.data.size = 7
    with pytest.raises(AttributeError):
        event.timecode = 7


def test_saved_inside_the_listener_is_there_at_stop(stream, tmp_path):
    target = tmp_path / "out.webm"
    recorder = recsvc.MediaRecorder(stream)
    recorder.ondataavailable = lambda event: event.data.save(target)
    record_for(recorder, 0.3)
    assert_consecutive(decode(target).counters)
