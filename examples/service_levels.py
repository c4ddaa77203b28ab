"""What a tighter latency costs: the same demand at three service levels."""

from gpuplan import Demand, Plan, Requirements, ServiceLevel, plan

MODEL = "meta-llama/Llama-3.1-8B-Instruct"
LEVELS_SECONDS = (0.2, 0.05, 0.02)


def ask(tpot_seconds: float) -> Plan:
    """The cheapest plan for 2,000 output tokens per second at one TPOT."""
    return plan(
        Requirements(
            model=MODEL,
            demand=Demand(output_tokens_per_second=2000),
            service_level=ServiceLevel(ttft_seconds=5, tpot_seconds=tpot_seconds),
        )
    )


def describe(answer: Plan) -> str:
    """One plan in a few words."""
    if answer.cost_usd_per_hour is None:
        return "nothing fits"
    bought = ", ".join(f"{line.count} x {line.offer.gpu_count} x {line.replica.gpu}" for line in answer.lines)
    return f"{answer.cost_usd_per_hour:6.2f} USD/h  {answer.status}  {bought}"


for level in LEVELS_SECONDS:
    print(f"TPOT up to {level * 1e3:3.0f} ms: {describe(ask(level))}")
