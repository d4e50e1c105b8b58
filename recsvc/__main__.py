"""``python -m recsvc``: the command line, or one of the role processes.

Roles start often and must be ready fast, so they are told apart before anything else is imported.
"""

import gc
import importlib
import sys

ROLE_MODULES = {
    "controller": "recsvc.controller.server",
    "encode": "recsvc.encode.process",
    "capture": "recsvc.capture.process",
}


def run_role(role: str) -> None:
    """Runs a role process until it ends."""
    module = importlib.import_module(ROLE_MODULES[role])
    importlib.import_module("recsvc.process.role").raise_descriptor_limit()
    gc.freeze()  # what is imported stays: no collection looks at it again
    module.main()
    importlib.import_module("recsvc.wire.sockets").deliver()


if __name__ == "__main__":
    if len(sys.argv) > 1 and sys.argv[1] in ROLE_MODULES:
        run_role(sys.argv[1])
    else:
        from recsvc.cli.commands import main

        main()
