"""Parameters as reference implementations count them, by repository, and which column holds which of our parts."""

import csv
from pathlib import Path

ORACLES = Path(__file__).parents[1] / "oracles"
with (ORACLES / "model_parameters.csv").open(newline="") as file:
    COUNTED = {row["model_id"]: row for row in csv.DictReader(file)}

COLUMNS = {
    "embedding": "embedding",
    "lm_head": "lm_head",
    "attention": "attn",
    "linear_attention": "linear_attn_ssm",
    "mlp": "mlp",
    "experts": "experts",
    "shared_experts": "shared_experts",
    "router": "router",
    "norms": "norms",
    "vision": "vision",
    "other": "other",
}
