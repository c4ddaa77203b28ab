"""Files that no installable tool reads, held to copies that were reviewed against the platforms' documentation.

After a wanted change, run this file with GPUPLAN_GOLDEN=write and review the diff.
"""

import os
from pathlib import Path

import pytest

from gpuplan.deploy.deployment import deployment_of
from gpuplan.deploy.formats import refusals, render, write
from gpuplan.deploy.read import read_plan

EXAMPLE = Path(__file__).parents[3] / "examples" / "deploy"
FORMATS = ("shell", "docker", "environment", "dynamo", "helm", "benchmark")
KINDS = ("two-machines", "two-kinds-on-one-machine", "sglang", "tensorrt-llm", "amd")


@pytest.mark.parametrize("kind", KINDS)
def test_files_are_as_they_were_reviewed(kind, matrix, golden):
    deployment = deployment_of(matrix[kind]())
    formats = [name for name in FORMATS if name not in refusals(deployment)]
    files = {f"{kind}/{file.name}": file.text for file in render(deployment, formats)}
    if os.environ.get("GPUPLAN_GOLDEN") == "write":
        for name, text in files.items():
            (golden / name).parent.mkdir(parents=True, exist_ok=True)
            (golden / name).write_text(text)
    reviewed = {
        path.relative_to(golden).as_posix(): path.read_text() for path in (golden / kind).rglob("*") if path.is_file()
    }
    assert files == reviewed


def test_the_example_is_what_its_plan_gives():
    formats = ["compose", "kubernetes"]
    files = render(deployment_of(read_plan(EXAMPLE / "plan.json")), formats)
    if os.environ.get("GPUPLAN_GOLDEN") == "write":
        write(files, EXAMPLE, overwrite=True)
    shown = {path.relative_to(EXAMPLE).as_posix(): path.read_text() for path in EXAMPLE.glob("*/*")}
    assert {file.name: file.text for file in files} == shown
