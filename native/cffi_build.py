"""Writes the C source of the extension ``recsvc.encode._native``; CMake runs it.

The declarations are those of the public header, between its two cffi marks: nothing is written twice.
Usage: ``cffi_build.py HEADER OUTPUT``.
"""

import sys
from pathlib import Path

from cffi import FFI

BEGIN = "/* cffi: begin */"
END = "/* cffi: end */"


def declarations(header: str) -> str:
    """The part of the header that cffi reads."""
    before, begin, rest = header.partition(BEGIN)
    body, end, _ = rest.partition(END)
    if not begin or not end:
        raise SystemExit(f"cffi_build.py: the header has no {BEGIN if not begin else END}")
    return body


def main() -> None:
    header, output = Path(sys.argv[1]), Path(sys.argv[2])
    ffi = FFI()
    ffi.cdef(declarations(header.read_text(encoding="utf-8")))
    ffi.set_source("recsvc.encode._native", f'#include "{header.name}"')
    ffi.emit_c_code(str(output))


if __name__ == "__main__":
    main()
