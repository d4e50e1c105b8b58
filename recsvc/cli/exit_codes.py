"""What the shell gets from ``recsvc``; its help names them, too."""

EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_UNKNOWN = 3
"""There is no such recording at the service."""
EXIT_INTERRUPTED = 130
"""Left by Ctrl-C."""
