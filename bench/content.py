"""What recsvc and other recorders record side by side: pictures with a readable number, a moving texture and grain, and
a melody that never repeats.

Made once from a seed into two raw files, which every recorder maps into its memory. Only the making needs numpy: the
reading also happens in the system's own Python (GStreamer).
"""

from __future__ import annotations

import mmap
from pathlib import Path
from typing import Any

from workloads import BLOCK_BYTES, BLOCK_RATE, SAMPLE_RATE, Workload

PICTURES = 96
"""Then they begin again: three of the texture's periods, so that no jump is seen but the number's."""
SOUND_S = 12
"""Then it begins again. Longer than any recording whose end is looked for in it."""
SEED = 20
_GRAIN = 4  # standard deviation, of 255
_NOTE_SAMPLES = SAMPLE_RATE // 20


class Content:
    """The raw files of a workload in memory; pictures and blocks are views of it, counted without end."""

    def __init__(self, work: Workload, directory: Path) -> None:
        self._work = work
        self.sound_path = directory / "sound.s16"
        self.pictures_path = directory / f"{work.name}.i420"
        self._sound = _mapped(self.sound_path)
        self._pictures = _mapped(self.pictures_path) if work.has_video else None

    def picture(self, number: int) -> memoryview:
        assert self._pictures is not None
        size = self._work.picture_bytes
        start = number % PICTURES * size
        return self._pictures[start : start + size]

    def block(self, number: int) -> memoryview:
        start = number % (SOUND_S * BLOCK_RATE) * BLOCK_BYTES
        return self._sound[start : start + BLOCK_BYTES]


def _mapped(path: Path) -> memoryview:
    with path.open("rb") as file:
        mapped = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
    view = memoryview(mapped)
    view[:: mmap.PAGESIZE].tobytes()  # touches each page now, not while it is measured
    return view


def make(work: Workload, directory: Path) -> None:
    """Writes what is missing."""
    content = directory / "sound.s16"
    if not content.exists():
        content.write_bytes(sound().tobytes())
    if work.has_video and not (directory / f"{work.name}.i420").exists():
        _make_pictures(work, directory / f"{work.name}.i420")


def sound() -> Any:
    """All samples, int16, one row per sample: a new chord every 50 ms, without clicks, and a little noise."""
    import numpy as np

    random = np.random.default_rng(SEED)
    notes = SOUND_S * SAMPLE_RATE // _NOTE_SAMPLES
    frequencies = np.repeat(random.uniform(200, 3000, (3, notes)), _NOTE_SAMPLES, axis=1)
    phases = 2 * np.pi * np.cumsum(frequencies, axis=1) / SAMPLE_RATE
    left, right = np.sin(phases).sum(axis=0), np.sin(phases + 0.5).sum(axis=0)
    noise = random.standard_normal((len(left), 2)) * 0.02
    return np.round((np.stack([left, right], axis=1) + noise) * 6000).astype(np.int16)


def _make_pictures(work: Workload, path: Path) -> None:
    import numpy as np

    from recsvc.capture.pattern import Pattern

    pattern = Pattern("counter", work.width, work.height, seed=SEED)
    random = np.random.default_rng(SEED)
    luma = work.width * work.height
    grain = np.round(random.standard_normal(2 * luma) * _GRAIN).astype(np.int16)
    with path.open("wb") as file:
        for number in range(PICTURES):
            picture = np.frombuffer(pattern.picture(number), np.uint8).copy()
            offset = int(random.integers(luma))
            grainy = picture[luma // 2 : luma] + grain[offset : offset + luma - luma // 2]
            picture[luma // 2 : luma] = np.clip(grainy, 16, 235)
            file.write(picture.tobytes())
