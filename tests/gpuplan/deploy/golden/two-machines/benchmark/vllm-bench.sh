#!/usr/bin/env bash
# meta-llama/Llama-3.1-8B-Instruct, planned by gpuplan 0.1.0 for 31.5 USD per hour
# 1 x vllm 0.33.0 on 16 x H100 SXM 80GB, aws p5.48xlarge (us-east-1)
# Planned with the machines' fast network: see that NCCL uses it (containers need its devices and IPC_LOCK), or replicas are slower.
# Afterwards: plan check promise PLAN.json vllm-result.json
set -euo pipefail
: "${BASE_URL:=http://localhost:8000}"
vllm bench serve --backend openai --base-url "$BASE_URL" --model meta-llama/Llama-3.1-8B-Instruct --dataset-name random --ignore-eos --random-input-len 1024 --random-output-len 512 --num-prompts 320 --max-concurrency 64 --percentile-metrics ttft,tpot,itl,e2el --metric-percentiles 50,95,99 --seed 0 --save-result --result-filename vllm-result.json
