"""Tries a service: each case of the protocol by itself, and what came of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

from ..common.service import ServiceAddress
from ..errors import RecorderError
from . import cases_catalog, cases_events, cases_frames, cases_requests
from .talk import Client, Unexpected

Case = Callable[[Client], None]


class Outcome(NamedTuple):
    """``problem`` is ``""`` where the service did as it should; ``skipped``: why the case does not apply."""

    name: str
    expected: str
    problem: str = ""
    skipped: str = ""
    seconds: float = 0.0


def cases() -> dict[str, Case]:
    """All of them, by name, in their order."""
    found: dict[str, Case] = {}
    for module in (cases_requests, cases_frames, cases_events, cases_catalog):
        for name, case in vars(module).items():
            if name.startswith("case_"):
                found[name.removeprefix("case_").replace("_", " ")] = case
    return found


def check(address: ServiceAddress, only: str = "") -> Iterator[Outcome]:
    """Runs the cases whose name has ``only`` in it, each with a client of its own."""
    for name, case in cases().items():
        if only in name:
            yield _run(address, name, case)


def _run(address: ServiceAddress, name: str, case: Case) -> Outcome:
    expected = " ".join((case.__doc__ or "").split())
    began_s = time.monotonic()
    problem = skipped = ""
    client = None
    try:
        client = Client(address)
        case(client)
    except cases_catalog.NotKept as error:
        skipped = str(error)
    except Unexpected as error:
        problem = str(error)
    except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
        problem = f"a message lacks what it must have: {error!r}"
    except RecorderError as error:
        problem = str(error)
    finally:
        if client is not None:
            client.close()
    return Outcome(name, expected, problem, skipped, time.monotonic() - began_s)
