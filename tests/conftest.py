"""No test reaches the real Hub: those that need one start their own on this machine (tests/catalog/hub_server.py)."""

from __future__ import annotations

import os

os.environ["HF_HUB_OFFLINE"] = "1"
