"""Runs in SkyPilot's own environment: reads task files as `sky launch` does."""

import sys

import sky

for name in sys.argv[1:]:
    task = sky.Task.from_yaml(name)
    assert task.run, name
    assert next(iter(task.resources)).accelerators, name
    print("ok", name)
