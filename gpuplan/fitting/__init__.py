"""Fitting: from measurements to factors as data. Offline work; the only place that uses scipy."""

from __future__ import annotations

import os

# The fit's matrices are small: a second thread of the linear algebra only waits, at four times the processor time.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")
