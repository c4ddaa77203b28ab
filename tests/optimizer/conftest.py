"""The bundled facts, loaded once for tests that ask real questions; small models and cards for the others."""

from collections.abc import Callable

import numpy as np
import pytest

from catalog.find import find_model
from catalog.model import Attention, Layers, Matrix, ModelSpec
from gpu_db.gpu import Gpu
from gpu_db.load import load_gpus, load_offers
from optimizer.engines.find import ENGINES, find_engine
from optimizer.performance.factors import load_factors
from optimizer.replica_columns import ReplicaColumns
from optimizer.search import Knowledge


@pytest.fixture(scope="session")
def knowledge_of() -> Callable[[str], Knowledge]:
    """What is known about a bundled model."""
    engines = {name: find_engine(name) for name in ENGINES}
    gpus, offers, factors = load_gpus(), load_offers(), load_factors()

    def known(model: str) -> Knowledge:
        return Knowledge(find_model(model), offers, gpus, engines, factors)

    return known


def build_llama(hidden=8192, layers=80, heads=64, kv_heads=8, head=128, intermediate=28672, vocabulary=128256):
    matrices = (
        Matrix("self_attn.q_proj", "attention", heads * head, hidden, "column", granule=head),
        Matrix("self_attn.k_proj", "attention", kv_heads * head, hidden, "kv_heads", granule=head),
        Matrix("self_attn.v_proj", "attention", kv_heads * head, hidden, "kv_heads", granule=head),
        Matrix("self_attn.o_proj", "attention", hidden, heads * head, "row", granule=head),
        Matrix("mlp.gate_proj", "mlp", intermediate, hidden, "column"),
        Matrix("mlp.up_proj", "mlp", intermediate, hidden, "column"),
        Matrix("mlp.down_proj", "mlp", hidden, intermediate, "row"),
        Matrix("input_layernorm", "norms", hidden, 1, gemm=False),
        Matrix("post_attention_layernorm", "norms", hidden, 1, gemm=False),
    )
    mixers = (Attention(heads, kv_heads, head, head),)
    return ModelSpec(
        repo_id="meta-llama/Llama-3.3-70B-Instruct",
        architecture="LlamaForCausalLM",
        family="Llama",
        hidden_size=hidden,
        vocabulary=vocabulary,
        max_context_tokens=131072,
        tied_embeddings=False,
        layers=(Layers(tuple(range(layers)), mixers, matrices),),
        outside=(
            Matrix("model.embed_tokens", "embedding", vocabulary, hidden, "vocabulary", gemm=False),
            Matrix("model.norm", "norms", hidden, 1, gemm=False),
            Matrix("lm_head", "lm_head", vocabulary, hidden, "vocabulary"),
        ),
        query_heads=heads,
        kv_heads=kv_heads,
    )


def build_gpu(name="H100 SXM 80GB", capability="9.0", mib=81559, vendor="NVIDIA"):
    return Gpu(
        name=name,
        vendor=vendor,
        architecture="",
        compute_capability=capability,
        memory_bytes=None if mib is None else mib << 20,
        memory_marketed_bytes=0,
        memory_bandwidth_bytes_per_second=None,
        flop_per_second={},
        link_bytes_per_second=None,
        pcie_bytes_per_second=None,
        power_watts=None,
        idle_watts=None,
        max_gpus_per_node=None,
        form_factor="",
        mig_capable=False,
        release_year=None,
        list_price_usd=None,
        list_price_date=None,
        source="test",
        confidence="high",
    )


def build_rows(gpus, tp, pp=None, dp=None, ep=None, gpu=None, node=8, fast=True):
    count = len(tp)

    def column(values, default):
        return np.asarray(values if values is not None else [default] * count, dtype=np.int64)

    tp, pp, dp = column(tp, 1), column(pp, 1), column(dp, 1)
    ranks = tp * pp * dp
    return ReplicaColumns(
        tuple(gpus),
        column(gpu, 0),
        tp,
        pp,
        dp,
        column(ep, 1),
        -(-ranks // node),
        np.minimum(ranks, node),
        np.full(count, 450e9),
        np.full(count, fast),
        np.full(count, 50e9),
    )


@pytest.fixture
def llama_70b():
    return build_llama()


@pytest.fixture
def make_llama():
    return build_llama


@pytest.fixture
def make_gpu():
    return build_gpu


@pytest.fixture
def make_rows():
    return build_rows
