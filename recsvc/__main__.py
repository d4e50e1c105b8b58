"""``python -m recsvc``: the command line, or one of the role processes.

Roles start often and must be ready fast, so they are told apart before anything else is imported.
"""

from __future__ import annotations

import sys

from recsvc.process.launch import ROLE_MODULES, run_role


def main() -> None:
    """Also the console script ``recsvc``."""
    if len(sys.argv) > 1 and sys.argv[1] in ROLE_MODULES:
        run_role(sys.argv[1])
    else:
        from recsvc.cli.commands import main as command_line

        command_line()


if __name__ == "__main__":
    main()
