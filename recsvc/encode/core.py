"""The C core as Python sees it: words are its numbers, buffers its memory, its return codes exceptions."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from ..errors import EncodingError, InvalidStateError
from ._native import ffi as ffi
from ._native import lib as lib

_ERRORS: Final[dict[int, type[Exception]]] = {
    lib.RECSVC_ERROR_ARGUMENT: ValueError,
    lib.RECSVC_ERROR_STATE: InvalidStateError,
    lib.RECSVC_ERROR_MEMORY: MemoryError,
}

_BYTES: Final = ffi.typeof("uint8_t[]")


def versions() -> dict[str, str]:
    """Versions by name: ``recsvc`` (the core), ``libopus``, ``libvpx``, ``libsoxr``, ``libyuv``."""
    libraries = {
        f"lib{name}": text_of(getattr(lib, f"recsvc_{name}_version")()) for name in ("opus", "vpx", "soxr", "yuv")
    }
    return {"recsvc": text_of(lib.recsvc_version()), **libraries}


def values_of(kind: str, names: Iterable[str]) -> dict[str, int]:
    """C's numbers for these words, which its header has as ``RECSVC_KIND_NAME``."""
    return {name: getattr(lib, f"RECSVC_{kind}_{name.upper()}") for name in names}


def choose(name: str, value: str, values: dict[str, int]) -> int:
    """C's number for a word."""
    if not isinstance(value, str):
        raise TypeError(f"{name} must be a string, not {type(value).__name__}")
    if value not in values:
        raise ValueError(f"{name} is {value!r}, it must be one of: {' '.join(values)}")
    return values[value]


def set_fields(struct: Any, **values: int) -> None:
    """Sets integer fields; the ranges that count are checked by C, this is only about what an integer of C holds."""
    for name, value in values.items():
        try:
            setattr(struct, name, value)
        except OverflowError:
            raise ValueError(f"{name} is {value}, which is out of range") from None
        except TypeError:
            raise TypeError(f"{name} must be an int, not {type(value).__name__}") from None


def contiguous(view: memoryview) -> Any:
    """The bytes of a buffer for C, in place; a context manager that lets go of the buffer."""
    if not view.c_contiguous:
        raise ValueError("the buffer is not contiguous")
    return ffi.from_buffer(_BYTES, view)


def check(status: int) -> None:
    """Raises the exception for a C return code, with C's text; in the thread that called C."""
    if status != lib.RECSVC_OK:
        raise _ERRORS.get(status, EncodingError)(text_of(lib.recsvc_last_error()))


def text_of(characters: Any) -> str:
    return str(ffi.string(characters), "utf-8", "replace")
