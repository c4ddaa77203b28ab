"""Which platforms there are, and a plan written for those that were asked for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Protocol, cast

from gpuplan.deploy.deployment import DeployFile, Deployment
from gpuplan.deploy.errors import CannotDeploy, FileExists
from gpuplan.errors import BadWord, nearest

PLATFORMS = Path(__file__).resolve().parent / "platforms"


class Platform(Protocol):
    """What a file in `platforms/` must hold."""

    SUMMARY: str

    def render(self, deployment: Deployment) -> tuple[DeployFile, ...]:
        """Its files.

        Raises:
            CannotDeploy: it has no way to run this plan.
        """


def format_names() -> tuple[str, ...]:
    """Every format: the files of `platforms/`, in alphabetical order.

    >>> "kubernetes" in format_names()
    True
    """
    return tuple(sorted(file.stem.replace("_", "-") for file in PLATFORMS.glob("[!_]*.py")))


def platform(name: str) -> Platform:
    """The platform of a format's name.

    Raises:
        BadWord: there is none of that name.
    """
    if name not in format_names():
        known = ", ".join(format_names())
        raise BadWord(f"No format {name!r}; there are {known}.{nearest(name, format_names())}")
    return cast(Platform, import_module(f"gpuplan.deploy.platforms.{name.replace('-', '_')}"))


def render(deployment: Deployment, formats: Iterable[str] = ()) -> tuple[DeployFile, ...]:
    """A plan as files, each format's in a folder of its name.

    Args:
        deployment: see `gpuplan.deploy.deployment.deployment_of`.
        formats: names; none = all that can run this plan.

    Raises:
        BadWord: no such format.
        CannotDeploy: a format that was named, or every format, cannot run this plan.
    """
    named = tuple(dict.fromkeys(formats))
    files = [file for name in named or format_names() for file in _written(deployment, name, bool(named))]
    if not files:
        raise CannotDeploy("No format can run this plan.")
    return tuple(files)


def _written(deployment: Deployment, name: str, must: bool) -> Iterator[DeployFile]:
    try:
        files = platform(name).render(deployment)
    except CannotDeploy as refusal:
        if must:
            raise CannotDeploy(f"--format {name}: {refusal}") from None
        return
    yield from (DeployFile(f"{name}/{file.name}", file.text, file.executable) for file in files)


def refusals(deployment: Deployment) -> dict[str, str]:
    """Formats that cannot run this plan, each with the reason."""
    reasons = {}
    for name in format_names():
        try:
            platform(name).render(deployment)
        except CannotDeploy as refusal:
            reasons[name] = str(refusal)
    return reasons


def write(files: Iterable[DeployFile], folder: Path, *, overwrite: bool = False) -> tuple[Path, ...]:
    """Write files under a folder, and nowhere else.

    Args:
        files: what to write.
        folder: made if it is missing.
        overwrite: whether files that are there may be replaced.

    Returns:
        The paths written.

    Raises:
        FileExists: a file, or a link, is where one would be written.
        CannotDeploy: the folder cannot be written.
    """
    texts = {folder / file.name: file for file in files}
    for path in texts:
        if path.is_symlink() or any(parent.is_symlink() for parent in path.parents if folder in parent.parents):
            raise FileExists(f"{path} is a link or lies behind one; nothing is written through links.")
        if path.exists() and not overwrite:
            raise FileExists(f"{path} exists; give another folder, or --force.")
    try:
        for path, file in texts.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(file.text, encoding="utf-8", newline="\n")
            if file.executable:
                path.chmod(path.stat().st_mode | 0o111)
    except OSError as error:
        raise CannotDeploy(f"{folder} cannot be written: {error.strerror}.") from error
    return tuple(texts)
