"""Checks a wheel that was built, or a recording that an installation of it made; the first fault ends it with a line.

python tools/check_wheel.py WHEEL                      what every wheel of recsvc is
python tools/check_wheel.py --manylinux WHEEL          and that it has the codec libraries inside
python tools/check_wheel.py --recording FILE CODEC     one second of Opus and of pictures in CODEC (needs ffprobe)
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import tempfile
import zipfile
from email.parser import Parser
from pathlib import Path

GLIBC_MINOR_MAX = 36
"""The C library of Debian 12 is 2.36."""

LICENSES = {
    "libopus": "COPYING",
    "libsoxr": "COPYING.LGPL",
    "libvpx": "LICENSE",
    "libyuv": "LICENSE",
}
SYSTEM_LIBRARIES = {"libc.so.6", "libm.so.6", "libpthread.so.0", "ld-linux-x86-64.so.2", "ld-linux-aarch64.so.1"}


def expect(right: bool, fault: str) -> None:
    if not right:
        raise SystemExit(f"check_wheel.py: {fault}")


def readelf(*arguments: str | Path) -> str:
    return subprocess.run(["readelf", "--wide", *arguments], check=True, capture_output=True, text=True).stdout


def check_wheel(path: Path, *, manylinux: bool) -> None:
    tag = re.fullmatch(r"recsvc-[0-9.a-z]+-cp311-abi3-(\w+(?:\.\w+)*)\.whl", path.name)
    expect(tag is not None, f"{path.name} is not for CPython 3.11 and all later ones (cp311-abi3)")
    with zipfile.ZipFile(path) as wheel, tempfile.TemporaryDirectory() as place:
        names = set(wheel.namelist())
        (metadata_name,) = (name for name in names if name.endswith(".dist-info/METADATA"))
        info = metadata_name.removesuffix("METADATA")
        metadata = Parser().parsestr(wheel.read(metadata_name).decode())
        expect(metadata["Requires-Python"] == ">=3.11", f"Requires-Python is {metadata['Requires-Python']}")
        expect(metadata["Name"] == "recsvc", f"the name is {metadata['Name']}")
        expect("recsvc = recsvc.__main__:main" in wheel.read(f"{info}entry_points.txt").decode(), "no command recsvc")
        strangers = sorted(name for name in names if not name.startswith(("recsvc/", "recsvc.libs/", info)))
        expect(not strangers, f"files beside the package: {strangers}")
        left = sorted(name for name in names if re.search(r"\.(c|h|pyc|o|a)$|/tests/", name))
        expect(not left, f"files that nothing needs: {left}")
        extension = "recsvc/encode/_native.abi3.so"
        expect(extension in names, f"no {extension}")
        if manylinux:
            assert tag is not None
            check_bundle(wheel, names, info, extension, tag[1], Path(place))


def check_bundle(
    wheel: zipfile.ZipFile, names: set[str], info: str, extension: str, platforms: str, place: Path
) -> None:
    minor = min((int(found) for found in re.findall(r"manylinux_2_(\d+)_", platforms)), default=None)
    expect(minor is not None, f"{platforms} is not a manylinux platform")
    assert minor is not None
    expect(minor <= GLIBC_MINOR_MAX, f"needs glibc 2.{minor}; Debian 12 has 2.{GLIBC_MINOR_MAX}")
    for library, text in LICENSES.items():
        for name in (f"{library}/{text}", f"{library}/copyright"):
            expect(f"{info}licenses/bundled/{name}" in names, f"the licence {name} is missing")
    libraries = {name.removeprefix("recsvc.libs/") for name in names if name.startswith("recsvc.libs/lib")}
    others = sorted(name for name in libraries if not name.startswith("libsoxr"))
    expect(len(libraries) == 1 and not others, f"recsvc.libs has {sorted(libraries)}, not libsoxr alone")
    for name in (extension, *(f"recsvc.libs/{library}" for library in libraries)):
        needed = set(re.findall(r"\(NEEDED\).*\[(.+)\]", readelf("--dynamic", wheel.extract(name, place))))
        expect(needed <= SYSTEM_LIBRARIES | libraries, f"{name} needs {sorted(needed - SYSTEM_LIBRARIES - libraries)}")
    symbols = readelf("--dyn-syms", place / extension)
    exported = set(re.findall(r" (?:GLOBAL|WEAK) +DEFAULT +\d+ (\S+)", symbols))
    expect(
        exported == {"PyInit__native"}, f"{extension} exports {sorted(exported)[:5]}, which may meet others' symbols"
    )


def check_recording(path: Path, codec: str) -> None:
    probe = subprocess.run(
        ["ffprobe", "-v", "error", "-count_frames", "-show_streams", "-show_format", "-of", "json", path],
        check=True,
        capture_output=True,
        text=True,
    )
    expect(not probe.stderr, f"{path}: {probe.stderr.strip()}")
    found = json.loads(probe.stdout)
    streams = {stream["codec_name"]: int(stream["nb_read_frames"]) for stream in found["streams"]}
    expect(set(streams) == {"opus", codec}, f"{path} has {sorted(streams)}")
    seconds = float(found["format"]["duration"])
    expect(0.9 <= seconds <= 1.2, f"{path} lasts {seconds} s")
    # Thirty pictures and fifty packets of sound, less what a starting machine may have dropped.
    expect(streams[codec] >= 15 and streams["opus"] >= 45, f"{path} has too few frames: {streams}")


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("path", type=Path)
    arguments.add_argument("codec", nargs="?")
    arguments.add_argument("--manylinux", action="store_true")
    arguments.add_argument("--recording", action="store_true")
    given = arguments.parse_args()
    if given.recording:
        check_recording(given.path, given.codec)
    else:
        check_wheel(given.path, manylinux=given.manylinux)


if __name__ == "__main__":
    main()
