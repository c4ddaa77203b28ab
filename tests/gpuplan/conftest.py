"""A plan made by hand: 2 x GH200, each serving one replica."""

from __future__ import annotations

from datetime import date

import pytest

from optimizer.plan import (
    Change,
    Estimate,
    Interval,
    Line,
    Memory,
    OfferedMachine,
    Plan,
    Proof,
    Rejection,
    Relaxation,
    Replica,
    Risk,
    Totals,
)
from optimizer.requirements import Demand, Limits, Requirements, ServiceLevel

GIB = 1 << 30
MODEL = "meta-llama/Llama-3.3-70B-Instruct"


def _line() -> Line:
    return Line(
        count=2,
        replicas=2,
        offer=OfferedMachine(
            offer_id="lambda/gpu_1x_gh200/us-east-3/on-demand",
            provider="lambda",
            instance_type="gpu_1x_gh200",
            gpu="GH200 96GB",
            gpu_count=1,
            region="us-east-3",
            billing="on-demand",
            price_usd_per_hour=1.99,
            as_of=date(2026, 10, 2),
            source="lambda price page",
            confidence="high",
        ),
        replica=Replica(
            model=MODEL,
            checkpoint=MODEL,
            gpu="GH200 96GB",
            gpus=1,
            nodes=1,
            tensor_parallel=1,
            pipeline_parallel=1,
            data_parallel=1,
            expert_parallel=1,
            weight_format="fp8",
            weights_from="online quantization",
            kv_cache_format="fp8",
            engine="vllm",
            engine_version="0.33.0",
            max_num_seqs=16,
            max_model_len=4096,
            max_num_batched_tokens=8192,
            gpu_memory_utilization=0.92,
            command=("vllm", "serve", MODEL, "--quantization", "fp8", "--served-model-name", "it's mine"),
        ),
        memory=Memory(
            total_bytes=96 * GIB,
            budget_bytes=88 * GIB,
            weight_bytes=68 * GIB,
            kv_cache_bytes=16 * GIB,
            activation_bytes=2 * GIB,
            graph_bytes=GIB,
            non_torch_bytes=GIB,
            kv_bytes_per_token=163840.0,
            kv_tokens=104857,
            requests_that_fit=68,
        ),
        estimate=Estimate(
            concurrency=16,
            output_tokens_per_second=Interval(value=306.0, low=270.0, high=350.0, planned=306.0),
            requests_per_second=0.6,
            ttft_seconds=Interval(value=0.31, low=0.2, high=0.5, planned=0.31),
            tpot_seconds=Interval(value=0.0254, low=0.02, high=0.03, planned=0.0254),
            power_watts=650.0,
            calibration="fitted on this GPU",
        ),
        cost_usd_per_hour=3.98,
    )


@pytest.fixture
def question() -> Requirements:
    return Requirements(
        model=MODEL,
        demand=Demand(output_tokens_per_second=500),
        service_level=ServiceLevel(tpot_seconds=0.05),
        limits=Limits(budget_usd_per_hour=10),
    )


@pytest.fixture
def solved(question: Requirements) -> Plan:
    """An optimal plan."""
    return Plan(
        gpuplan_version="0.1.0",
        status="optimal",
        question=question,
        model=MODEL,
        cost_usd_per_hour=3.98,
        bound_usd_per_hour=3.98,
        lines=(_line(),),
        totals=Totals(
            gpus=2,
            machines=2,
            replicas=2,
            output_tokens_per_second=Interval(value=612.0, low=540.0, high=700.0, planned=612.0),
            requests_per_second=1.2,
            concurrency=32,
            ttft_seconds=0.31,
            tpot_seconds=0.0254,
            power_watts=1300.0,
            usd_per_month=2905.4,
            usd_per_million_output_tokens=1.8065,
        ),
        risks=(
            Risk(option="--min-tps", asked=500, chance=0.04),
            Risk(option="--max-tpot", asked=0.05, chance=0.01),
        ),
        proof=Proof(
            solver="CP-SAT",
            solver_version="9.15",
            status="optimal",
            bound_usd_per_hour=3.98,
            gap=0.0,
            seconds=0.08,
            candidates=41203,
            candidates_after_pruning=512,
            audited=True,
        ),
        conflicts=(),
        relaxations=(),
        rejections=(
            Rejection(
                gpu="H100 SXM 80GB",
                reason="costs 9.80 USD/h, 146% more",
                cost_usd_per_hour=9.8,
                output_tokens_per_second=980.0,
                tensor_parallel=4,
                pipeline_parallel=1,
                machines=1,
                offer_id="lambda/gpu_4x_h100_sxm5/us-east-3/on-demand",
            ),
            Rejection(gpu="T4", reason="no bf16 (compute capability 7.5)"),
        ),
        alternatives=(Rejection(gpu="GH200 96GB", reason="bf16 KV cache", cost_usd_per_hour=5.97, machines=3),),
        prices_as_of=date(2026, 10, 2),
        data_fingerprint="0123456789abcdef",
        warnings=("The price of lambda/gpu_1x_gh200 is of 2026-08-02, 112 days old.",),
    )


@pytest.fixture
def unsolved(solved: Plan) -> Plan:
    """Nothing fits."""
    return solved.model_copy(
        update={
            "status": "infeasible",
            "cost_usd_per_hour": None,
            "bound_usd_per_hour": None,
            "lines": (),
            "totals": None,
            "alternatives": (),
            "conflicts": ("a budget of 1.00 USD/h and at least 500 output tok/s exclude each other",),
            "relaxations": (
                Relaxation(
                    changes=(Change(rule="budget", option="--budget", asked="1.00", value="3.98"),),
                    sentence="budget 3.98 instead of 1.00",
                    cost_usd_per_hour=3.98,
                ),
            ),
            "warnings": (),
        }
    )
