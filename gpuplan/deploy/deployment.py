"""What is deployed: the replicas of a plan, each kind once, with everything that a platform's file may need of it."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from gpu_db.load import load_gpus
from gpu_db.query import names_in
from gpuplan.deploy.command import Command, read_command
from gpuplan.deploy.errors import BadPlan, CannotDeploy
from gpuplan.deploy.facts import engine_image, process_memory_gib, processors, shared_memory_gib, unseen
from gpuplan.deploy.text import dns_name, speakable
from optimizer.engines.tensorrt_llm import OPTIONS_FILE
from optimizer.plan import Line, OfferedMachine, Plan

GIB = 1 << 30
MOUNTED = "/etc/gpuplan"
"""Where containers find the files that their command names."""
MOST_MACHINES = 10_000
"""Files list machines one by one; a plan of more is no plan of anybody."""
ADAPTERS = {"vllm": "--lora-modules", "sglang": "--lora-paths"}
"""Options that load LoRA adapters at the start."""
VERSION = re.compile(r"[0-9][0-9A-Za-z.+]{0,40}")


@dataclass(frozen=True, slots=True)
class DeployFile:
    """A file to be written: its name inside the folder, and all that it holds."""

    name: str
    text: str
    executable: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Serving:
    """One kind of replica, as often as the plan has it.

    Attributes:
        name: of its pods and containers; unlike every other of the deployment.
        count: replicas.
        engine, version: what it runs.
        command: what its first machine runs.
        worker: what each of its other machines runs, without its ranks; None = it has one machine.
        ranks: options of a worker whose value is its number among the machines (from 0) times so much.
        gpu: our name of the card; `vendor` makes it.
        gpus, nodes: of one replica.
        offer: the machine that it stands on, and `machines` of them are bought for it.
        beside: number of the serving on whose machines it stands too; None = its own.
        options_file: contents of OPTIONS_FILE; "" = the command names none.
        offload_bytes: weights of one replica's machine kept in its memory.
        max_num_seqs: requests at once, all of its attention-DP ranks together.
    """

    name: str
    count: int
    engine: str
    version: str
    command: Command
    worker: Command | None
    ranks: tuple[tuple[str, int], ...]
    gpu: str
    vendor: str
    gpus: int
    nodes: int
    offer: OfferedMachine
    machines: int
    beside: int | None
    options_file: str
    offload_bytes: int
    weight_bytes: int

    @property
    def gpus_per_machine(self) -> int:
        """GPUs of each machine that one replica takes."""
        return self.gpus // self.nodes

    @property
    def image(self) -> str:
        """The pinned container image."""
        return engine_image(self.engine, self.version, self.vendor)

    @property
    def shared_memory_gib(self) -> int:
        """/dev/shm of one of its machines' containers."""
        return shared_memory_gib(self.gpus_per_machine)

    @property
    def processors(self) -> int:
        """CPU cores of one of its machines' containers."""
        return processors(self.gpus_per_machine)

    @property
    def host_memory_gib(self) -> int:
        """Memory of the host that is known to be taken: the server's own and shared memory, offloaded weights."""
        own = process_memory_gib(self.gpus_per_machine)
        return own + self.shared_memory_gib + -(-self.offload_bytes // GIB)

    @property
    def left_to_do(self) -> Iterator[str]:
        """What whoever starts it must see to, because no plan knows it."""
        if self.nodes > 1:
            yield (
                "Planned with the machines' fast network: see that NCCL uses it (containers need its devices and "
                "IPC_LOCK), or replicas are slower."
            )
        options = {option for option, _ in self.command.options}
        if "--enable-lora" in options and not options & {"--lora-modules", "--lora-paths"}:
            yield f"There is room for adapters, and none is loaded yet: add {ADAPTERS[self.engine]} NAME=PATH."

    def labels(self, naming_system: str) -> tuple[str, ...]:
        """What a naming system calls its card; see `gpu_db.query.names_in`."""
        return names_in(self.gpu, naming_system)

    @property
    def folders(self) -> tuple[str, ...]:
        """Folders of this machine that the command names: containers must be given them."""
        words = [self.command.model, *(value for _, values in self.command.options for value in values)]
        paths = [word.partition("=")[2] if "=/" in word else word for word in words]
        drafts = re.findall(r'"model":"(/[^"\\]*)"', self.command.value("--speculative-config") or "")
        return tuple(dict.fromkeys(path for path in [*paths, *drafts] if path.startswith("/")))


@dataclass(frozen=True, slots=True)
class Deployment:
    """A plan, ready to be written for any platform.

    Attributes:
        name: of the whole, for DNS; the same plan has the same name everywhere.
        plan: what was planned.
        servings: its kinds of replica.
    """

    name: str
    plan: Plan
    servings: tuple[Serving, ...]

    @property
    def about(self) -> tuple[str, ...]:
        """What every file says of itself."""
        cost = self.plan.cost_usd_per_hour
        return (
            f"{self.plan.model}, planned by gpuplan {self.plan.gpuplan_version}"
            + ("" if cost is None else f" for {cost:g} USD per hour"),
            *(
                f"{each.count} x {each.engine} {each.version} on {each.gpus} x {each.gpu}, "
                f"{each.offer.provider} {each.offer.instance_type} ({each.offer.region})"
                for each in self.servings
            ),
            *dict.fromkeys(note for each in self.servings for note in each.left_to_do),
        )

    @property
    def image_notes(self) -> tuple[str, ...]:
        """What files that name the engines' images say of tags that nobody was seen to use."""
        notes = (unseen(image) for image in dict.fromkeys(each.image for each in self.servings))
        return tuple(note for note in notes if note)


def deployment_of(
    plan: Plan, *, folder: Path | None = None, trust_remote_code: bool = False, checkpoint: str | None = None
) -> Deployment:
    """What a plan needs to run.

    Args:
        plan: the answer of `plan`.
        folder: where a relative path of a model begins; None = such paths stay as they are.
        trust_remote_code: whether code that comes with the model may run.
        checkpoint: a repository or path with the planned weight format, where the plan found none.

    Raises:
        BadPlan: the plan contradicts itself, or its commands are not of this program.
        CannotDeploy: nothing was planned, or its weights do not exist.
    """
    if plan.status == "infeasible" or not plan.lines:
        raise CannotDeploy("Nothing fits this question, so there is nothing to deploy: `plan` says what to change.")
    name = dns_name(plan.model, plan.model_revision or "")
    _check_size(plan)
    servings = tuple(
        _serving(plan, number, name if len(plan.lines) == 1 else f"{name}-{number}", folder, checkpoint)
        for number in range(len(plan.lines))
    )
    return Deployment(name, plan, tuple(map(_trusting, servings)) if trust_remote_code else servings)


def _check_size(plan: Plan) -> None:
    machines = sum(line.count for line in plan.lines)
    replicas = sum(line.replicas for line in plan.lines)
    if machines > MOST_MACHINES or replicas > MOST_MACHINES * max(line.offer.gpu_count for line in plan.lines):
        raise CannotDeploy(f"{machines} machines and {replicas} replicas are more than files are written for here.")
    for number, line in enumerate(plan.lines):
        beside, replica = line.shares_machines_of_line, line.replica
        alone = beside is None or not 0 <= beside < number or plan.lines[beside].shares_machines_of_line is not None
        if beside is not None and alone:
            raise BadPlan(f"Line {number} of the plan stands on the machines of line {beside}, which has none.")
        if min(line.replicas, replica.gpus, replica.nodes, line.offer.gpu_count) < 1 or replica.gpus % replica.nodes:
            raise BadPlan(f"Line {number} of the plan has replicas without machines, or unequal parts of them.")


def _serving(plan: Plan, number: int, name: str, folder: Path | None, checkpoint: str | None) -> Serving:
    line = plan.lines[number]
    replica, offer = line.replica, line.offer
    gpu = load_gpus().get(replica.gpu)
    if gpu is None:
        raise BadPlan(f"The plan's GPU {replica.gpu!r} is not known here; `plan gpus` lists all.")
    if not VERSION.fullmatch(replica.engine_version):
        raise BadPlan(f"The plan's version {replica.engine_version[:60]!r} of {replica.engine} is no version.")
    model = _checkpoint(plan, line, folder, checkpoint)
    command = replace(read_command(replica.engine, replica.command), model=model)
    worker, ranks = _worker(line, model)
    speakable((*command.words(), replica.options_file, offer.provider, offer.instance_type, offer.region))
    if bool(replica.options_file) != any(command.kind(option) == "file" for option, _ in command.options):
        raise BadPlan(f"The plan's command and its options file disagree on whether there is an {OPTIONS_FILE}.")
    return Serving(
        name=name,
        count=line.replicas,
        engine=replica.engine,
        version=replica.engine_version,
        command=command,
        worker=worker,
        ranks=ranks,
        gpu=gpu.name,
        vendor=gpu.vendor,
        gpus=replica.gpus,
        nodes=replica.nodes,
        offer=offer,
        machines=line.count,
        beside=line.shares_machines_of_line,
        options_file=replica.options_file,
        offload_bytes=line.memory.offloaded_weight_bytes * (replica.gpus // replica.nodes),
        weight_bytes=line.memory.weight_bytes * replica.gpus,
    )


def _checkpoint(plan: Plan, line: Line, folder: Path | None, checkpoint: str | None) -> str:
    """What the engine loads: the repository, or the folder that was asked for."""
    if checkpoint is not None:
        chosen = checkpoint
    elif line.replica.weights_from == "a quantized checkpoint to be named":
        raise CannotDeploy(
            f"The plan serves {line.replica.weight_format} weights, and {plan.model} has none: name a checkpoint that "
            "has them: `plan deploy PLAN.json --checkpoint owner/name`."
        )
    else:
        chosen = _folder_asked(plan) or read_command(line.replica.engine, line.replica.command).model
    if chosen.startswith("-"):
        raise CannotDeploy(f"The model {chosen!r} would be taken for an option; rename it.")
    is_relative = folder is not None and chosen.startswith((".", "~"))
    return os.path.normpath(Path(str(folder)) / Path(chosen).expanduser()) if is_relative else chosen


def _folder_asked(plan: Plan) -> str | None:
    """The folder that was asked for as the model, which a plan otherwise calls by its last part."""
    asked = plan.question.model
    if not asked.startswith(("/", "./", "../", "~")) and asked not in {".", ".."}:
        return None
    return os.path.dirname(asked) or "." if asked.endswith("config.json") else asked  # noqa: PTH120 (no normalizing)


def _worker(line: Line, model: str) -> tuple[Command | None, tuple[tuple[str, int], ...]]:
    """What the other machines of a replica run, and the options that are their rank times something."""
    replica = line.replica
    if replica.nodes == 1:
        return None, ()
    if not replica.worker_command:
        raise BadPlan("The plan has a replica on several machines and no command for the second one; plan it anew.")
    read = replace(read_command(replica.engine, replica.worker_command), model=model)
    ranks = tuple((name, int(values[0])) for name, values in read.options if read.kind(name) == "rank")
    return read.without_kind("rank"), ranks


def _trusting(serving: Serving) -> Serving:
    """The same replica, allowed to run the code that comes with the model."""
    from gpuplan.deploy.command import option_table

    option = str(option_table()[serving.engine]["trust"])
    worker = None if serving.worker is None else serving.worker.with_option(option)
    return replace(serving, command=serving.command.with_option(option), worker=worker)
