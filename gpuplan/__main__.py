"""Where the program starts: `plan`, `gpuplan` and `python -m gpuplan` are the same.

Nothing heavy is imported before Ctrl-C is heeded.
"""

from __future__ import annotations

import sys

STOPPED = 130


def main() -> int:
    """Run the command line; the exit status."""
    try:
        from gpuplan.cli.app import main as run

        return run()
    except KeyboardInterrupt:
        sys.stderr.write("plan: stopped\n")
        return STOPPED


if __name__ == "__main__":
    sys.exit(main())
