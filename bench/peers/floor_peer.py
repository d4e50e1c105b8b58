"""The floor: builds ``floor/floor.c`` into ``build/`` and runs it, once for each recording."""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
from pathlib import Path

from .recorder import Order, Recorder, Taken

_HERE = Path(__file__).resolve().parent
_SOURCE = _HERE / "floor" / "floor.c"
_PROGRAM = _HERE.parent.parent / "build" / "peers" / "floor"
_LIBRARIES = ("vpx", "opus")


class Floor(Recorder):
    name = "floor"
    writes_file = False

    @classmethod
    def missing(cls) -> str | None:
        for tool in ("cc", "pkg-config"):
            if shutil.which(tool) is None:
                return f"no {tool}"
        found = subprocess.run(["pkg-config", "--exists", *_LIBRARIES], check=False)
        return "no libvpx-dev or no libopus-dev" if found.returncode else None

    def version(self) -> str:
        _build()
        return ", ".join(f"lib{name} {_pkg_config('--modversion', name)}" for name in _LIBRARIES)

    def record(self, order: Order) -> Taken:
        work = self.work
        words = [_PROGRAM, work.width, work.height, work.video_bits_per_second]
        words += [self.content.pictures_path, self.content.sound_path]
        words += [order.stop_s, int(order.real_time), order.measure_s]
        done = subprocess.run([str(word) for word in words], capture_output=True, text=True, check=True, timeout=120)
        return Taken(**json.loads(done.stdout))


def _build() -> None:
    if _PROGRAM.exists() and _PROGRAM.stat().st_mtime > _SOURCE.stat().st_mtime:
        return
    _PROGRAM.parent.mkdir(parents=True, exist_ok=True)
    libraries = shlex.split(_pkg_config("--cflags", "--libs", *_LIBRARIES))
    subprocess.run(["cc", "-O2", "-Wall", "-Wextra", "-o", _PROGRAM, _SOURCE, *libraries], check=True)


def _pkg_config(*words: str) -> str:
    return subprocess.run(["pkg-config", *words], capture_output=True, text=True, check=True).stdout.strip()
