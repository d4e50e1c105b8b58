"""What a recording says of its pictures, and how it looks to who believes it: colours, shape, which way up."""

import json
import subprocess
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from fixtures_media import KeepingSink, program, wait_until
from media import finished, opened
from patches import PATCHES, colours_of_patches, i420, rgb_of, striped, yuv444

import recsvc
from recsvc.capture.opening import open_source
from recsvc.capture.packer import _display
from recsvc.encode import native

TOLERANCE = 7
SD, HD = (160, 120), (1280, 720)


def record(picture: bytes, size: tuple[int, int], pixel_format: str, codec: str, **options: Any) -> recsvc.Blob:
    source = recsvc.VideoSource(*size, pixel_format, when_full="wait", **options)
    recorder = recsvc.MediaRecorder(
        recsvc.MediaStream([source.track]), mime_type=f"video/webm;codecs={codec}", video_bits_per_second=8_000_000
    )
    with recorder:
        recorder.start()
        for n in range(3):
            assert source.write(picture, n * 33_000_000)
        blob = finished(recorder)
    source.end()
    return blob


def shown(blob: Any) -> np.ndarray:
    """The patches' colours in the last picture, by what the file says."""
    with opened(blob) as container:
        frame = list(container.decode(video=0))[-1]
        return colours_of_patches(rgb_of(frame))


def probed(path: Path) -> dict[str, Any]:
    command = [
        program("ffprobe"),
        "-loglevel",
        "error",
        "-select_streams",
        "v",
        "-show_streams",
        "-of",
        "json",
        str(path),
    ]
    done = subprocess.run(command, capture_output=True, check=True, timeout=30)
    stream: dict[str, Any] = json.loads(done.stdout)["streams"][0]
    return stream


def assert_near(got: np.ndarray, wanted: Any = PATCHES, tolerance: int = TOLERANCE) -> None:
    assert np.abs(got.astype(int) - np.array(wanted)).max() <= tolerance, got


@pytest.mark.parametrize("codec", ["vp8", "vp9"])
@pytest.mark.parametrize(
    ("pixel_format", "size", "options", "said"),
    [
        ("i420", SD, {}, "bt601"),
        ("i420", SD, {"color_space": "bt709"}, "bt709"),
        ("nv12", SD, {"color_space": "bt709"}, "bt709"),
        ("rgb24", SD, {}, "bt601"),
        ("bgra", SD, {}, "bt601"),
        ("bgr24", HD, {}, "bt709"),
        ("rgba", HD, {}, "bt709"),
        ("i420", HD, {}, "bt601"),
    ],
)
def test_pushed_pictures_come_back_in_their_colours(
    codec: str, pixel_format: str, size: tuple[int, int], options: dict[str, str], said: str, tmp_path: Path
) -> None:
    rgb = striped(*size)
    if pixel_format in ("i420", "nv12"):
        y, u, v = i420(rgb, said)
        chroma = np.stack((u.ravel(), v.ravel()), 1) if pixel_format == "nv12" else np.concatenate((u, v))
        picture = y.tobytes() + chroma.tobytes()
    else:
        order = [("rgba" if pixel_format.startswith("rgb") else "bgra").index(letter) for letter in "rgb"]
        packed = np.zeros((*rgb.shape[:2], 3 if pixel_format.endswith("24") else 4), np.uint8)
        packed[..., order] = rgb
        picture = packed.tobytes()
    blob = record(picture, size, pixel_format, codec, **options)
    assert_near(shown(blob))
    blob.save(tmp_path / "a.webm")
    stream = probed(tmp_path / "a.webm")
    # VP8 is nothing else, and shown as nothing else by FFmpeg and Firefox.
    assert stream["color_space"] == ("smpte170m" if codec == "vp8" else {"bt601": "smpte170m", "bt709": "bt709"}[said])
    assert stream["color_range"] == "tv"
    assert "color_primaries" in stream and "color_transfer" in stream  # Chromium looks at all or none


def test_color_space_is_one_of_two() -> None:
    for wrong in ("bt2020", "", None, 709):
        with pytest.raises(ValueError, match="bt709"):
            recsvc.VideoSource(64, 48, color_space=wrong)  # type: ignore[arg-type]


def test_pictures_of_another_size_keep_to_the_matrix_that_the_header_has() -> None:
    encoder = native.VideoEncoder("vp9", *SD, bits_per_second=8_000_000, color_space="bt601")
    decoder: Any = av.CodecContext.create("vp9", "r")
    for n, size in enumerate((SD, HD)):
        packets = encoder.encode(striped(*size).tobytes(), "rgb24", *size, n * 33_000, 33_000)
        (frame,) = decoder.decode(av.Packet(packets[0].data))
        assert (frame.width, frame.height) == size
        assert_near(colours_of_patches(rgb_of(frame, "bt601")))
    encoder.close()


# --- files ----------------------------------------------------------------------------------------


def written(
    path: Path,
    planes: tuple[np.ndarray, ...],
    pixel_format: str,
    *,
    tags: tuple[int, int, int] = (2, 2, 2),
    full_range: bool = False,
    aspect: Fraction | None = None,
    matrix: list[int] | None = None,
    pictures: int = 3,
) -> Path:
    """A lossless file of planes as they are; ``tags``: matrix, primaries, transfer as H.273 numbers them."""
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("libx264", rate=25, options={"qp": "0", "preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = planes[0].shape[1], planes[0].shape[0], pixel_format
        codec = stream.codec_context
        codec.colorspace, codec.color_primaries, codec.color_trc = tags
        codec.color_range = 2 if full_range else 1
        if aspect is not None:
            codec.sample_aspect_ratio = aspect
        if matrix is not None:
            stream.set_display_matrix(matrix)
        for n in range(pictures):
            frame = av.VideoFrame(stream.width, stream.height, pixel_format)
            frame.colorspace, frame.color_range = tags[0], codec.color_range
            for plane, values in zip(frame.planes, planes, strict=True):
                rows = np.zeros((values.shape[0], plane.line_size), np.uint8)
                rows[:, : values.shape[1]] = values
                plane.update(rows.tobytes())
            frame.pts = n
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def delivered(path: Path, **video: Any) -> tuple[dict[str, Any], Any]:
    """What a file gives a recording: the track's settings and the last picture."""
    source = open_source(f"file:{path}?pace=max", None, video)
    sink = KeepingSink()
    source.start({"video": sink})
    wait_until(lambda: sink.ends, "the end of the file")
    source.close()
    assert sink.ends[0][1] is None
    settings = dict(source.tracks[0].settings)
    picture = sink.pictures[-1]
    assert (picture.width, picture.height, picture.pixel_format) == (
        settings["width"], settings["height"], settings["pixel_format"],
    )  # fmt: skip
    return settings, picture


def looks(settings: dict[str, Any], picture: Any) -> np.ndarray:
    assert settings["pixel_format"] == "i420"
    width, height = settings["width"], settings["height"]
    values = np.frombuffer(picture.picture, np.uint8)
    half = (height + 1) // 2, (width + 1) // 2
    y, u, v = np.split(values, [width * height, width * height + half[0] * half[1]])
    planes = y.reshape(height, width), u.reshape(half), v.reshape(half)
    return rgb_of(planes, str(settings["color_space"]))


@pytest.mark.parametrize(
    ("size", "space", "full", "tags", "said"),
    [
        (HD, "bt709", False, (1, 1, 1), ("bt709", 1, 1)),
        (SD, "bt709", False, (1, 1, 1), ("bt709", 1, 1)),
        (HD, "bt601", False, (5, 5, 6), ("bt601", 5, 6)),
        (SD, "bt601", True, (6, 6, 6), ("bt601", 6, 6)),
        (SD, "bt709", True, (1, 2, 13), ("bt709", 1, 13)),
        (SD, "bt2020", False, (9, 9, 16), ("bt2020", 9, 16)),
        (HD, "bt709", False, (2, 2, 2), ("bt709", 1, 1)),  # nobody says it: as players suppose
        (SD, "bt601", False, (2, 2, 2), ("bt601", 6, 6)),
        (SD, "smpte240m", False, (7, 7, 7), ("bt601", 7, 7)),  # no codec of ours can say it: converted
    ],
)
def test_a_file_keeps_its_colours(size, space, full, tags, said, tmp_path) -> None:
    path = written(tmp_path / "a.mkv", i420(striped(*size), space, full), "yuv420p", tags=tags, full_range=full)
    settings, picture = delivered(path)
    assert (settings["color_space"], settings["color_primaries"], settings["color_transfer"]) == said
    assert_near(colours_of_patches(looks(settings, picture)))
    if not full and space in native.COLOR_SPACES:  # the very values
        assert bytes(picture.picture) == b"".join(plane.tobytes() for plane in i420(striped(*size), space))


@pytest.mark.parametrize("full", [False, True])
def test_a_file_of_another_pixel_format_keeps_its_colours(full, tmp_path) -> None:
    planes = yuv444(striped(*HD), "bt709", full)
    path = written(tmp_path / "a.mkv", planes, "yuv444p", tags=(1, 1, 1), full_range=full)
    settings, picture = delivered(path, width=640)
    assert (settings["width"], settings["height"], settings["color_space"]) == (640, 360, "bt709")
    assert_near(colours_of_patches(looks(settings, picture)))


def test_colours_that_change_in_a_stream_are_converted_to_those_of_the_track(tmp_path) -> None:
    one = written(tmp_path / "1.ts", i420(striped(*SD), "bt601"), "yuv420p", tags=(6, 6, 6))
    two = written(tmp_path / "2.ts", i420(striped(*HD), "bt709", True), "yuv420p", tags=(1, 1, 1), full_range=True)
    path = tmp_path / "both.ts"
    path.write_bytes(one.read_bytes() + two.read_bytes())
    source = open_source(f"file:{path}?pace=max", None, {})
    sink = KeepingSink()
    source.start({"video": sink})
    wait_until(lambda: sink.ends, "the end of the file")
    source.close()
    assert len(sink.pictures) == 6
    for picture in sink.pictures:
        assert_near(colours_of_patches(looks(source.tracks[0].settings, picture)))


@pytest.mark.parametrize("codec", ["vp8", "vp9"])
def test_a_recorded_file_says_what_its_source_said(codec: str, own_controller: None, tmp_path: Path) -> None:
    path = written(tmp_path / "a.mkv", i420(striped(*SD), "bt709"), "yuv420p", tags=(1, 9, 13), aspect=Fraction(64, 45))
    with recsvc.get_user_media(video=f"file:{path}?pace=max") as stream:
        recorder = recsvc.MediaRecorder(stream, mime_type=f"video/webm;codecs={codec}", video_bits_per_second=8_000_000)
        recorder.start()
        recorder.wait("stop", 20)
        blob = recorder.recording
        assert blob is not None
        assert_near(shown(blob))
        blob.save(tmp_path / "b.webm")
        recorder.close()
    said = probed(tmp_path / "b.webm")
    space = "bt709" if codec == "vp9" else "smpte170m"
    assert [said[f"color_{name}"] for name in ("space", "primaries", "transfer", "range")] == [
        space, "bt2020", "iec61966-2-1", "tv",
    ]  # fmt: skip
    assert (said["width"], said["height"], said["display_aspect_ratio"]) == (160, 120, "19:10")


# --- shape and which way up -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("aspect", "wish", "size", "display"),
    [
        (None, {}, (160, 120), (160, 120)),
        (Fraction(64, 45), {}, (160, 120), (228, 120)),
        (Fraction(1, 2), {}, (160, 120), (160, 240)),
        (Fraction(64, 45), {"width": 80}, (80, 60), (114, 60)),
        (Fraction(64, 45), {"width": 228, "height": 120}, (228, 120), (228, 120)),
        (None, {"width": 81}, (81, 61), (81, 61)),
        (None, {"width": 160, "height": 90}, (160, 90), (160, 120)),
    ],
)
def test_pictures_keep_their_shape(aspect, wish, size, display, tmp_path) -> None:
    path = written(tmp_path / "a.mkv", i420(striped(*SD), "bt601"), "yuv420p", aspect=aspect, pictures=1)
    settings, _ = delivered(path, **wish)
    assert (settings["width"], settings["height"]) == size
    assert (settings["display_width"], settings["display_height"]) == display


@pytest.mark.parametrize(
    ("size", "shape", "display"),
    [((160, 120), 1000, (160, 1)), ((160, 120), Fraction(1, 1000), (1, 120)), ((16000, 100), 320, (16000, 50))],
)
def test_no_side_gets_longer_than_players_show(size, shape, display) -> None:
    assert _display(size, Fraction(shape)) == display


ONE = 1 << 16
# As stored -> (matrix, what the upper left, upper right, lower left and lower right are when it is shown).
TURNS = {
    "upright": ((ONE, 0, 0, ONE), "0123"),
    "quarter clockwise": ((0, ONE, -ONE, 0), "2031"),
    "quarter counterclockwise": ((0, -ONE, ONE, 0), "1302"),
    "half": ((-ONE, 0, 0, -ONE), "3210"),
    "left to right": ((-ONE, 0, 0, ONE), "1032"),
    "upside down": ((ONE, 0, 0, -ONE), "2301"),
    "mirrored quarter": ((0, ONE, ONE, 0), "0213"),
    "mirrored other quarter": ((0, -ONE, -ONE, 0), "3120"),
}


@pytest.mark.parametrize("name", TURNS)
def test_pictures_are_turned_upright(name: str, tmp_path: Path) -> None:
    (a, b, c, d), wanted = TURNS[name]
    rgb = np.zeros((90, 162, 3), np.uint8)
    for corner in range(4):
        rows, columns = (
            slice(45 * (corner // 2), 45 * (corner // 2) + 45),
            slice(81 * (corner % 2), 81 * (corner % 2) + 81),
        )
        rgb[rows, columns] = PATCHES[corner]
    matrix = [a, b, 0, c, d, 0, 0, 0, 1 << 30]
    path = written(tmp_path / "a.mp4", i420(rgb, "bt709"), "yuv420p", tags=(1, 1, 1), matrix=matrix, aspect=Fraction(2))
    is_turned = not a
    settings, picture = delivered(path)
    assert (settings["width"], settings["height"]) == ((90, 162) if is_turned else (162, 90))
    assert (settings["display_width"], settings["display_height"]) == ((90, 324) if is_turned else (324, 90))
    settings, picture = delivered(path, width=60)
    got = looks(settings, picture)
    height, width = got.shape[:2]
    assert (width, height) == ((60, 108) if is_turned else (60, 33))
    corners = [got[y * height // 4, x * width // 4] for y in (1, 3) for x in (1, 3)]
    assert_near(np.array(corners), [PATCHES[int(n)] for n in wanted])
