"""Runs in dstack's own environment: reads configurations as `dstack apply` does."""

import sys
from pathlib import Path

import yaml
from dstack._internal.core.models.configurations import parse_apply_configuration
from dstack._internal.core.services import validate_dstack_resource_name

for name in sys.argv[1:]:
    read = parse_apply_configuration(yaml.safe_load(Path(name).read_text()))
    validate_dstack_resource_name(read.name)
    assert read.resources.gpu.count.min >= 1, name
    print("ok", name)
