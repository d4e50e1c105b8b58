"""A service with options, in a process of its own: what ``recsvc serve`` runs, without its settings and logs."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fixtures_media import wait_until
from media import DEADLINE_S

from recsvc.caller.client import Client
from recsvc.common.service import ServiceAddress
from recsvc.process import runtime

_PROGRAM = """
import argparse, json, logging, sys
from pathlib import Path
from recsvc.common.service import ServiceOptions
from recsvc.controller import process
from recsvc.controller.host import Host
from recsvc.process.role import Lifeline, raise_descriptor_limit

raise_descriptor_limit()
logging.basicConfig(format="%(name)s: %(message)s")
given = argparse.Namespace(parent=0, line=None)
process.serve(ServiceOptions(**json.loads(sys.argv[1])), Path(sys.argv[2]), Lifeline(given), Host())
"""


class Tuned:
    """One that runs, and a client of it."""

    def __init__(self, endpoint: str, spool: Path, process: subprocess.Popen[bytes], client: Client) -> None:
        self.endpoint, self.spool, self.process, self.client = endpoint, spool, process, client


@contextlib.contextmanager
def tuned(directory: Path, **options: Any) -> Iterator[Tuned]:
    """Ended in order with the block."""
    endpoint, spool = directory / "service", directory / "spool"
    given = json.dumps({"endpoint": f"ipc://{endpoint}", "spool": str(spool), **options})
    process = subprocess.Popen([sys.executable, "-c", _PROGRAM, given, str(runtime.default_base())])
    try:
        wait_until(lambda: endpoint.is_socket() or process.poll() is not None, "the service", DEADLINE_S)
        client = Client(ServiceAddress(f"ipc://{endpoint}"))
        try:
            yield Tuned(f"ipc://{endpoint}", spool, process, client)
        finally:
            client.close()
        process.terminate()
        assert process.wait(DEADLINE_S) == 0
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
