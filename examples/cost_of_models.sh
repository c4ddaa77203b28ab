#!/usr/bin/env bash
# What it costs to serve each of several models: --json in a pipeline.
set -euo pipefail
for model in llama-3.1-8b Qwen/Qwen3-32B openai/gpt-oss-120b; do
  plan --model "$model" --min-tps 1000 --max-tpot 50ms --json |
    python -c 'import json, sys; p = json.load(sys.stdin); print(p["model"], p["status"], p["cost_usd_per_hour"], "USD/h")'
done
