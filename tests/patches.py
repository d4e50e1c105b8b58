"""Pictures of known colours in Y, U and V, and back: written from the standards, not from what recsvc uses."""

from __future__ import annotations

from typing import Any

import numpy as np

# Parts of red and blue in luma (ITU-R BT.601, BT.709, BT.2020, SMPTE 240M).
SPACES = {"bt601": (0.299, 0.114), "bt709": (0.2126, 0.0722), "bt2020": (0.2627, 0.0593), "smpte240m": (0.212, 0.087)}
OF_MATRIX = {1: "bt709", 5: "bt601", 6: "bt601", 7: "smpte240m", 9: "bt2020"}

PATCHES = ((191, 31, 32), (40, 180, 60), (50, 70, 210), (128, 128, 128), (200, 180, 30), (235, 235, 235))


def striped(width: int, height: int) -> np.ndarray:
    """The patches beside each other, in RGB."""
    columns = np.arange(width) // 2 * 2 * len(PATCHES) // width
    return np.broadcast_to(np.array(PATCHES, np.uint8)[columns], (height, width, 3)).copy()


def yuv444(rgb: np.ndarray, space: str, full: bool = False) -> tuple[np.ndarray, ...]:
    of_red, of_blue = SPACES[space]
    red, green, blue = np.moveaxis(rgb.astype(float), 2, 0)
    y = of_red * red + (1 - of_red - of_blue) * green + of_blue * blue
    u, v = (blue - y) / (1 - of_blue) / 2, (red - y) / (1 - of_red) / 2
    scales = [(1, 0), (1, 128), (1, 128)] if full else [(219 / 255, 16), (224 / 255, 128), (224 / 255, 128)]
    planes = [plane * scale + offset for plane, (scale, offset) in zip((y, u, v), scales, strict=True)]
    return tuple(np.clip(np.round(plane), 0, 255).astype(np.uint8) for plane in planes)


def i420(rgb: np.ndarray, space: str, full: bool = False) -> tuple[np.ndarray, ...]:
    y, u, v = yuv444(rgb, space, full)
    return y, u[::2, ::2], v[::2, ::2]


def rgb_of(picture: Any, space: str = "") -> np.ndarray:
    """Of planes in limited range, or of a decoded frame by what it says of itself."""
    if not isinstance(picture, tuple):
        frame = picture
        assert frame.format.name == "yuv420p" and frame.color_range == 1
        space = space or OF_MATRIX[frame.colorspace]
        chroma = (frame.height + 1) // 2, (frame.width + 1) // 2
        shapes = [(frame.height, frame.width), chroma, chroma]
        picture = tuple(
            np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)[: shape[0], : shape[1]]
            for plane, shape in zip(frame.planes, shapes, strict=True)
        )
    height, width = picture[0].shape
    y = (picture[0].astype(float) - 16) * 255 / 219
    u, v = (((plane.repeat(2, 0).repeat(2, 1)[:height, :width]) - 128.0) * 255 / 224 for plane in picture[1:])
    of_red, of_blue = SPACES[space]
    red, blue = y + 2 * (1 - of_red) * v, y + 2 * (1 - of_blue) * u
    green = (y - of_red * red - of_blue * blue) / (1 - of_red - of_blue)
    return np.clip(np.stack((red, green, blue), 2), 0, 255)


def colours_of_patches(rgb: np.ndarray) -> np.ndarray:
    """The colour in the middle of each patch of a striped picture."""
    height, width = rgb.shape[:2]
    return rgb[height // 2, [(2 * n + 1) * width // (2 * len(PATCHES)) for n in range(len(PATCHES))]]
