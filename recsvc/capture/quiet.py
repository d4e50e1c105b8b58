"""Keeps C libraries from writing to the terminal."""

import contextlib
import os
from collections.abc import Iterator


@contextlib.contextmanager
def quiet_stderr() -> Iterator[None]:
    """What anything in this process writes to file descriptor 2 meanwhile is discarded.

    ALSA and PortAudio report every device that they tried in vain. Process-wide: keep it short.
    """
    try:
        saved = os.dup(2)
    except OSError:  # no stderr at all
        yield
        return
    try:
        with open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
