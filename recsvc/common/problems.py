"""Steps that are all taken, whatever becomes of each."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator


@contextlib.contextmanager
def noted(problems: list[Exception]) -> Iterator[None]:
    """Keeps an exception of the block for a report: the step after it is taken all the same."""
    try:
        yield
    except Exception as problem:
        problems.append(problem)
