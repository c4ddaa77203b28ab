"""A serving engine: what it can run on which GPU, the defaults it assumes, and the command that starts it.

Facts come from `data/<engine>.json`, each with its source; what differs in kind between engines is a method of its own
file. An engine never guesses: without a fact it refuses, and says why.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from catalog.model import LatentAttention, ModelSpec
from gpu_db.gpu import Gpu
from optimizer.engines.coverage import capability, capability_major, first_rule, numbers, pads_on, refusal
from optimizer.engines.facts import Facts, fact_at, parse_version
from optimizer.engines.launch import DEFAULTS, HEAD_ADDRESS, Launch, NoSuchOption
from optimizer.engines.shape_refusals import RefusedShape, division_refusals, parallelism_refusals
from optimizer.memory.cache_plan import CachePlan
from optimizer.memory.communication import NonTorch, visible_bytes
from optimizer.memory.factors import GIB, MIB
from optimizer.memory.graphs import GraphLaw
from optimizer.memory.kv_cache import PACKED_VECTORS, BlockRule, kv_value_bytes
from optimizer.memory.page_groups import plan_pages
from optimizer.replica_columns import Floats, Ints, ReplicaColumns


@dataclass(frozen=True)
class Engine(ABC):
    """One engine at one version.

    Attributes:
        name: "vllm", "sglang" or "tensorrt-llm".
        version: of the release whose behaviour is described.
        facts: of its data file.
    """

    name: str
    version: str
    facts: Facts

    def __hash__(self) -> int:
        return hash((self.name, self.version))

    @property
    def title(self) -> str:
        """Name and version as people write them: "vLLM 0.33.0"."""
        return f"{self.facts.get('title', self.name)} {self.version}"

    @property
    def memory_utilization(self) -> float | None:
        """Default share of memory that the engine takes; None when it derives the share from the card."""
        value = fact_at(self.facts["memory_utilization"], self.version)["value"]
        return None if value is None else float(value)

    @property
    def accounting(self) -> str:
        """What the utilization is a share of: "share_of_total", "..._of_free_at_start", "..._of_free_after_load"."""
        return str(self.facts["accounting"])

    @property
    def reserved_blocks(self) -> int:
        """Blocks of the KV pool that no request gets."""
        return int(self.facts["reserved_blocks"])

    def graphs_inside_budget(self, spec: ModelSpec) -> bool:
        """Whether a model's CUDA graphs are charged against the budget; if not, they must fit in what is beside it."""
        return bool(fact_at(self.facts["graphs_inside_budget"], self.version)["value"])

    def counts_graphs_in_peak(self, spec: ModelSpec) -> bool:
        """Whether the peak activation that it prints has the CUDA graphs in it that are charged."""
        known = self.facts.get("peak_counts_graphs")
        return known is not None and self.graphs_inside_budget(spec) and bool(fact_at(known, self.version)["value"])

    def utilization(self, spec: ModelSpec, rows: ReplicaColumns, max_batched_tokens: Ints) -> Floats:
        """Default share of memory per row, shape (rows,)."""
        if self.memory_utilization is None:
            raise ValueError(f"{self.title} has no constant default utilization; its own file must derive it.")
        return np.full(rows.rows, self.memory_utilization)

    def default_max_num_seqs(self, gpu: Gpu) -> int:
        """Sequences per step when nothing is asked for, per attention-DP rank."""
        return int(self._card(gpu)["max_num_seqs"])

    def default_max_batched_tokens(self, gpu: Gpu, max_model_len: int | None = None) -> int:
        """Tokens per step when nothing is asked for.

        Args:
            gpu: the card.
            max_model_len: longest request, which engines that take whole prompts must hold; None = any.
        """
        tokens = int(self._card(gpu)["max_batched_tokens"])
        whole = int(self._batch_defaults(gpu).get("whole_prompts_up_to", 0))
        return max(tokens, max_model_len) if max_model_len is not None and max_model_len <= whole else tokens

    def behaves_as(self, gpu: Gpu) -> str:
        """The version whose defaults hold on a card; an older generation may serve old cards longer."""
        return self.version

    def _batch_defaults(self, gpu: Gpu) -> Facts:
        return fact_at(self.facts["batch_defaults"], self.behaves_as(gpu))

    def _card(self, gpu: Gpu) -> Facts:
        """The defaults of the first class of cards that a GPU belongs to."""
        gib = visible_bytes(gpu) / GIB
        for card in self._batch_defaults(gpu)["cards"]:
            without = card.get("names_without")
            excepted = (without and without in gpu.name) or card.get("capability_not") == gpu.compute_capability
            if gib >= card["memory_gib_from"] and not excepted:
                return dict(card)
        raise ValueError(f"{self.title} has no batch defaults for {gpu.name}.")

    @property
    def graph_law(self) -> GraphLaw:
        """What its CUDA graphs take."""
        entry = fact_at(self.facts["cuda_graphs"], self.version)
        return GraphLaw(
            entry["base_gib"] * GIB,
            entry["mib_per_layer_and_size"] * MIB,
            entry["divided"],
            **{name: entry[name] for name in ("sizes_per_sequence", "fine_limit") if name in entry},
        )

    @property
    def uncalibrated(self) -> str:
        """Which of its memory is not measured and what stands in, one sentence; "" when all of it is measured."""
        return str(self.facts.get("uncalibrated", ""))

    def largest_graph(self, gpu: Gpu) -> int:
        """Largest batch for which a CUDA graph is captured by default."""
        own = fact_at(self.facts["cuda_graphs"], self.version).get("largest")
        if own is not None:
            return int(own)
        graphs = self.facts["largest_graph"]
        return int(graphs["by_capability_major"].get(capability_major(gpu), graphs["default"]))

    def block_rule(self, spec: ModelSpec, gpu: Gpu, kv_format: str) -> BlockRule:
        """Tokens per KV block for a model on a GPU: what its attention kernels take."""
        blocks, bytes_each = self.facts["blocks"], kv_value_bytes(kv_format)
        packs, compressed = blocks["packs_sparse_latent"], blocks["compressed_latent"]
        states = fact_at(blocks["state_pages"], self.version)
        return BlockRule(
            tokens=first_rule(blocks["tokens_rules"], spec, gpu, bytes_each, int(blocks["tokens"])),
            latent_tokens=first_rule(blocks["latent_rules"], spec, gpu, bytes_each, int(blocks["tokens"])),
            latent_granule=int(blocks["latent_granule"]),
            packs_sparse_latent=kv_format == "fp8" != spec.kv_cache_format
            and packs["capability_major"] == capability_major(gpu),
            compressed_tokens=int(compressed["tokens"]),
            compressed_window_tokens=int(compressed["window_tokens"]),
            compressed_alignment=int(compressed["alignment"]),
            compressor_tokens=tuple(
                (int(window), tokens) for window, tokens in compressed["compressor_tokens"].items()
            ),
            state_pages=int(states["default"]),
            state_pages_by_kind=tuple(states["by_kind"].items()),
            indexes_every_layer=self.indexes_every_layer,
        )

    @property
    def indexes_every_layer(self) -> bool:
        """Whether layers that share another's choice of tokens have an indexer, and a cache for its keys, too."""
        return parse_version(self.version) < parse_version(self.facts["blocks"].get("indexers_shared_since", "0"))

    def cache_plan(self, spec: ModelSpec, tensor_parallel: int, kv_format: str, rule: BlockRule) -> CachePlan:
        """How this engine cuts its KV pool on one TP rank; see `optimizer.memory.page_groups`."""
        return plan_pages(spec, tensor_parallel, kv_format, rule)

    def sampler_bytes_per_logit(self, spec: ModelSpec) -> float:
        """What its sampler keeps per sequence and vocabulary entry at its peak, for a model."""
        return float(fact_at(self.facts["sampler_bytes_per_logit"], self.version)["value"])

    def keeps_expert_workspace(self, spec: ModelSpec, gpu: Gpu) -> bool:
        """Whether the workspace of the experts' kernels stays allocated between layers and steps."""
        fact = fact_at(self.facts.get("expert_workspace", [{"since": "0.0.0", "kept_on": {}}]), self.version)
        return capability_major(gpu) in fact["kept_on"].get(spec.weight_format, ())

    @property
    def non_torch(self) -> NonTorch:
        """What it allocates outside PyTorch, by ranks."""
        entry = fact_at(self.facts["non_torch_gib"], self.version)
        fast, pcie = ({int(n): gib * GIB for n, gib in entry[kind].items()} for kind in ("fast_links", "pcie"))
        extras = (entry.get(name, 0) * GIB for name in ("amd_extra", "quantized_extra", "hopper_extra"))
        return NonTorch(fast, pcie, *extras)

    def sparse_latent_copies(self, max_model_len: int) -> int:
        """Times max_model_len whose latent vectors sparse attention has room for when it reads prompts."""
        fact = self._sparse_latent
        return int(fact.get("copies" if max_model_len <= fact.get("up_to_tokens", 0) else "copies_beyond", 0))

    @property
    def keeps_sparse_context(self) -> bool:
        """Whether sparse latent attention has buffers from loading on."""
        return "sparse_latent_workspace" in self.facts

    @property
    def keeps_sparse_queries(self) -> bool:
        """Whether sparse latent attention has a buffer for the queries of a step."""
        return bool(self._sparse_latent.get("queries", False))

    @property
    def sparse_logits_bytes(self) -> float:
        """What the indexer of sparse latent attention needs for its logits."""
        return float(self._sparse_latent.get("logits_mib", 0) * MIB)

    @property
    def _sparse_latent(self) -> Facts:
        entries = self.facts.get("sparse_latent_workspace")
        return {} if entries is None else fact_at(entries, self.version)

    def latent_context_tokens(self, max_model_len: int) -> int:
        """Tokens of context whose keys and values latent attention unpacks at once when it reads a prompt."""
        entries = self.facts.get("latent_context_tokens")
        fact = {"requests": 0, "most": 0} if entries is None else fact_at(entries, self.version)
        return min(int(fact["requests"]) * max_model_len, int(fact["most"]))

    @property
    def copies_latent(self) -> bool:
        """Whether it keeps a 16-bit copy of a quantized up-projection of latent attention."""
        return bool(fact_at(self.facts["copies_latent"], self.version)["value"])

    @property
    def absorbs_latent(self) -> bool:
        """Whether those copies are products with the neighbouring projections, which are larger."""
        return bool(fact_at(self.facts["copies_latent"], self.version).get("absorbed", False))

    @property
    def least_expert_block(self) -> int | None:
        """Smallest square that experts' fp8 blocks may become where TP cuts them; None = they must stay whole."""
        known = self.facts.get("recuts_expert_blocks")
        return None if known is None else fact_at(known, self.version)["value"]

    def quantizes_tower(self, spec: ModelSpec) -> bool:
        """Whether it loads a vision tower in the checkpoint's scheme although the checkpoint keeps it in 16 bit."""
        towers = self.facts.get("quantized_towers", {})
        return spec.architecture in towers.get("architectures", ()) and spec.weight_format in towers["formats"]

    def expert_padding(self, spec: ModelSpec, gpu: Gpu, *, served: bool = True) -> tuple[int, int]:
        """What the MoE kernel pads each expert's (intermediate, hidden) size to a multiple of; (1, 1) = nothing.

        Args:
            spec: the model.
            gpu: the card.
            served: after the kernel has repacked the weights; False = as they are loaded.
        """
        schemes = {m.stored_as for g in spec.layers for m in g.matrices if m.sharding == "expert"}
        for entry in self.facts.get("expert_padding", ()):
            meant = spec.architecture in entry["architectures"] and entry.get("scheme") in {None, *schemes}
            if meant and self._is_current(entry) and pads_on(entry, gpu):
                sizes = entry.get("served", entry) if served else entry
                return int(sizes["intermediate"]), int(sizes["hidden"])
        return 1, 1

    def _is_current(self, entry: Facts) -> bool:
        """Whether this version lies between an entry's `since` and `until`."""
        mine = parse_version(self.version)
        began = mine >= parse_version(entry.get("since", "0.0.0"))
        return began and ("until" not in entry or mine < parse_version(entry["until"]))

    def in_flight_tokens(self, pipeline_parallel: Ints, max_batched_tokens: Ints) -> Ints:
        """Tokens that can be scheduled and not yet settled, shape (rows,): one batch per concurrent step.

        Source: vLLM 0.33.0 `vllm/config/vllm.py`, `max_concurrent_batches`: pipeline stages + 1.
        """
        return (pipeline_parallel + 1) * max_batched_tokens

    def kv_formats(self, spec: ModelSpec, gpu: Gpu) -> tuple[str, ...]:
        """KV-cache formats that this engine has kernels for on this GPU; "auto" is the first.

        Formats that cost accuracy (4 bit) are not among them: they are served when asked for by name.
        """
        known = [entry for entry in self.facts["kv_formats"] if not entry.get("on_request")]
        formats = [entry["format"] for entry in known if refusal(entry, gpu) == ""]
        own = spec.kv_cache_format
        return tuple(sorted(formats, key=lambda name: name != own)) if own in formats else tuple(formats)

    def computes_in(self, weight_format: str, gpu: Gpu) -> str | None:
        """Number format of the matrix products: "fp8", "bf16", ...; None when the engine has no kernel."""
        for entry in self.facts["kernels"]:
            if entry["format"] == weight_format and refusal(entry, gpu) == "":
                computes = entry["computes"]
                if isinstance(computes, str):
                    return computes
                return next(str(name) for floor, name in computes if capability(gpu) >= numbers(floor))
        return None

    def refuses(self, spec: ModelSpec, gpu: Gpu, kv_format: str) -> str | None:
        """Why this engine cannot run these weights and this KV format on this GPU; None = it can.

        Args:
            spec: the model, in the weight format that is asked for.
            gpu: the card.
            kv_format: "bf16", "fp8", ...
        """
        return self.refusals(spec, (gpu,), kv_format)[0]

    def refusals(
        self, spec: ModelSpec, gpus: Sequence[Gpu], kv_format: str, weights: Sequence[tuple[str, str]] | None = None
    ) -> list[str | None]:
        """`refuses` of every GPU; what does not depend on the GPU is found once.

        Args:
            spec, kv_format: as `refuses` takes them.
            gpus: the cards.
            weights: `weight_refusals` of them, where they are known already.
        """
        cache, packed = self._kernels("kv_formats", kv_format, spec), self._refuses_packed_latent(spec, kv_format)
        known = self.weight_refusals(spec, gpus) if weights is None else weights
        return [
            before or self._refuses_kernel(f"{kv_format} KV cache", cache, gpu) or packed or behind or None
            for gpu, (before, behind) in zip(gpus, known, strict=True)
        ]

    def weight_refusals(self, spec: ModelSpec, gpus: Sequence[Gpu]) -> list[tuple[str, str]]:
        """Why each GPU cannot run these weights, whatever the KV format is; "" for nothing.

        Returns:
            Of each GPU what is said rather than that it has no such KV cache, and what is said if it has one.
        """
        architecture, weights = self._refuses_architecture(spec), self._kernels("kernels", spec.weight_format, spec)
        return [
            (
                self._refuses_gpu(gpu)
                or architecture
                or self._refuses_kernel(f"{spec.weight_format} weights", weights, gpu),
                self._refuses_half_precision(spec, gpu),
            )
            for gpu in gpus
        ]

    def _refuses_gpu(self, gpu: Gpu) -> str:
        if gpu.memory_bytes is None:
            return f"nobody published how much memory the driver of {gpu.name} shows, so nothing can be sized on it"
        vendor = self.facts["gpus"].get(gpu.vendor)
        if vendor is None:
            other = self.facts["other_vendors"].get(gpu.vendor)
            return str(other or f"{self.title} has no fitted memory factors for {gpu.vendor} accelerators").format(
                version=self.version
            )
        if not gpu.compute_capability:
            return f"the compute capability of {gpu.name} is not known, so no kernel can be vouched for"
        for entry in self.facts.get("gpus_refused", ()):
            if gpu.name.startswith(entry["name"]):
                return f"{gpu.name} {entry['why']}"
        reason = refusal(vendor, gpu)
        return f"{self.title} runs on {gpu.vendor} GPUs {reason}" if reason else ""

    def refuses_checkpoint(self, spec: ModelSpec) -> str:
        """Why this engine cannot read the files of a model, whatever is in them; "" = it can."""
        refused = self.facts["checkpoints_refused"].get(spec.quantization_method)
        return "" if refused is None else f"{self.title} {refused['why']}"

    def _refuses_architecture(self, spec: ModelSpec) -> str:
        implemented = self.facts["architectures"]
        unread, family = self.refuses_checkpoint(spec), implemented["families_refused"].get(spec.family)
        if unread or family:
            return unread or f"{self.title} {family['why']}"
        known = spec.architecture in implemented["names"]
        return "" if known else f"{self.title} does not implement {spec.architecture}"

    def _kernels(self, table: str, wanted: str, spec: ModelSpec) -> dict[str, Facts]:
        """What is known of a format, by vendor.

        Entries that name a storage scheme hold for models that use it, and come before the general one.
        """
        schemes = {matrix.stored_as for group in spec.layers for matrix in group.matrices}
        entries = [entry for entry in self.facts[table] if entry["format"] == wanted]
        able = [entry for entry in entries if entry.get("scheme") in {None, *schemes}]
        return {entry["vendor"]: entry for entry in reversed(able)}

    def _refuses_kernel(self, what: str, kernels: dict[str, Facts], gpu: Gpu) -> str:
        if gpu.vendor not in kernels:
            return f"{self.title} has no {what} kernels on {gpu.vendor} GPUs that are vouched for here"
        reason = refusal(kernels[gpu.vendor], gpu)
        return f"{self.title} runs {what} {reason}" if reason else ""

    def _refuses_packed_latent(self, spec: ModelSpec, kv_format: str) -> str:
        latent = any(isinstance(mixer, LatentAttention) for mixer in spec.mixers)
        packed = latent and kv_format in PACKED_VECTORS
        return (
            f"{self.title} has no {kv_format} KV cache for latent attention, which {spec.repo_id} has" if packed else ""
        )

    def _refuses_half_precision(self, spec: ModelSpec, gpu: Gpu) -> str:
        unstable = self.facts.get("float16_unstable", {}).get("architectures", ())
        if gpu.vendor == "NVIDIA" and capability(gpu) < (8, 0) and spec.architecture in unstable:
            return (
                f"{gpu.name} (compute capability {gpu.compute_capability}) has no bf16, and {spec.architecture} is "
                f"numerically unstable in fp16, so {self.title} refuses it"
            )
        return ""

    def refused_shapes(self, spec: ModelSpec, rows: ReplicaColumns) -> list[RefusedShape]:
        """Which rows this engine cannot start, and why.

        Args:
            spec: the model, in the weight format that is asked for.
            rows: shapes of one replica.

        Returns:
            Pairs of a mask of shape (rows,) and a sentence; only masks with a refused row. A row may be in several.
        """
        reasons = (
            *parallelism_refusals(spec, rows),
            *division_refusals(spec, rows, self.least_expert_block if spec.quantization_method == "fp8" else None),
            *self._own_refusals(spec, rows),
        )
        return [(mask, reason) for mask, reason in reasons if mask.any()]

    def _own_refusals(self, spec: ModelSpec, rows: ReplicaColumns) -> Iterator[RefusedShape]:
        """Refusals of one engine only."""
        yield from ()

    def quantizes_while_loading(self, weight_format: str) -> bool:
        """Whether a checkpoint in 16 bit can be served in this format, without a quantized one.

        Source: the engine's data file, `online_quantization`.
        """
        return weight_format in self.facts["online_quantization"]["words"]

    def makes_weights(self, published: str, wanted: str) -> bool:
        """Whether a checkpoint published in one format is all that it needs to serve another, or the same."""
        return wanted == published or self.quantizes_while_loading(wanted)

    def _online_quantization(self, launch: Launch) -> list[str]:
        """The option that quantizes while loading; none for a checkpoint that has the format already."""
        word = self.facts["online_quantization"]["words"].get(launch.weight_format)
        return ["--quantization", word] if word and launch.weight_format != launch.spec.weight_format else []

    def _check_launch(self, launch: Launch) -> None:
        refused = self.refuses_launch(launch)
        if refused:
            raise NoSuchOption(f"{refused}.")

    lacks: ClassVar[Mapping[str, str]] = {}
    """Fields of a Launch that this engine has no option for, in the words of a refusal."""

    def refuses_launch(self, launch: Launch) -> str | None:
        """Why this engine cannot be started so, whatever the GPU; None = it can."""
        unread = self.refuses_checkpoint(launch.spec)
        wanted = [words for field, words in self.lacks.items() if getattr(launch, field) != DEFAULTS[field]]
        return unread or (f"{self.title} has no option for {wanted[0]}" if wanted else None)

    @abstractmethod
    def command(self, launch: Launch, *, node_rank: int = 0, head_address: str = HEAD_ADDRESS) -> tuple[str, ...]:
        """The argv that starts one replica (on one of its machines).

        Args:
            launch: the replica.
            node_rank: which of its machines this command is for.
            head_address: IP address of machine 0.

        Raises:
            NoSuchOption: the engine has no option for something that the launch asks for.
        """

    def options_file(self, launch: Launch) -> str:
        """What the file that `command` names must hold; "" when it names none."""
        return ""
