"""What can be wrong between a plan and its files.

DeployError
├── BadPlan        the file is not a plan that this program printed (whoever gave it)
├── BadResult      the file is not a result of a benchmark that is read here (whoever gave it)
├── CannotDeploy   this plan cannot run on that platform (the asker: another format, another plan)
└── FileExists     a file is there already (the asker: another folder, or --force)
"""

from __future__ import annotations

from gpuplan.errors import GpuplanError


class DeployError(GpuplanError):
    """Anything that keeps files from being written; its text is one sentence for people."""


class BadPlan(DeployError):
    """What was read is not a plan that this program printed."""


class BadResult(DeployError):
    """What was read is not the result of a benchmark."""


class CannotDeploy(DeployError):
    """The platform has no way to run this plan."""


class FileExists(DeployError):
    """A file would be overwritten."""
