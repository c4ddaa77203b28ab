"""Where the program starts: `plan`, `gpuplan` and `python -m gpuplan` are the same.

Nothing heavy is imported before Ctrl-C is heeded.
"""

from __future__ import annotations

import gc
import sys

STOPPED = 130
COLLECT_AFTER_OBJECTS = 200_000
"""How much garbage may gather before it is looked for. Python's own 700 looks through every imported module hundreds of
times: a twentieth of the time of a program that ends in a second and makes little garbage."""


def main() -> int:
    """Run the command line; the exit status."""
    gc.set_threshold(COLLECT_AFTER_OBJECTS)
    try:
        from gpuplan.cli.app import main as run

        return run()
    except KeyboardInterrupt:
        sys.stderr.write("plan: stopped\n")
        return STOPPED


if __name__ == "__main__":
    sys.exit(main())
