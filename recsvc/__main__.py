"""``python -m recsvc``: the command line, or one of the role processes.

Roles start often and must be ready fast, so they are told apart before anything else is imported.
"""

import sys


def main() -> None:
    role = sys.argv[1] if len(sys.argv) > 1 else ""
    if role == "controller":
        from .controller.server import main as run
    elif role == "encode":
        from .encode.process import main as run
    elif role == "capture":
        from .capture.process import main as run
    else:
        from .cli import main as run
    run()


if __name__ == "__main__":
    main()
