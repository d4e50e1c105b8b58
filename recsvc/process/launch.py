"""The role processes by their names, and how one is run."""

from __future__ import annotations

import gc
import importlib

ROLE_MODULES = {
    "controller": "recsvc.controller.process",
    "encode": "recsvc.encode.process",
    "serve": "recsvc.serve.process",
    "catalog": "recsvc.catalog.process",
    "capture": "recsvc.capture.process",
    "http": "recsvc.http.process",
}


def run_role(role: str) -> None:
    """Runs a role in this process until it ends. Imports only that role."""
    gc.disable()  # a tenth of the time until it is ready would go into looks at what is imported
    module = importlib.import_module(ROLE_MODULES[role])
    importlib.import_module("recsvc.process.role").raise_descriptor_limit()
    if role != "serve":
        importlib.import_module("recsvc.process.role_log").begin()
    gc.freeze()  # what is imported stays: no collection looks at it again
    gc.enable()
    module.main()
    importlib.import_module("recsvc.wire.sockets").deliver()
