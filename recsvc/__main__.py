"""``python -m recsvc``: the command line, or one of the role processes.

Roles start often and must be ready fast, so they are told apart before anything else is imported.
"""

import importlib
import sys

_ROLES = {
    "controller": "recsvc.controller.server",
    "encode": "recsvc.encode.process",
    "capture": "recsvc.capture.process",
}


def main() -> None:
    role = sys.argv[1] if len(sys.argv) > 1 else ""
    module = _ROLES.get(role, "recsvc.cli")
    importlib.import_module(module).main()


if __name__ == "__main__":
    main()
