"""`python -m gpuplan` is the same program as `plan`."""

import sys

from gpuplan.cli.app import main

sys.exit(main())
