#!/usr/bin/env bash
# meta-llama/Llama-3.1-8B-Instruct, planned by gpuplan 0.1.0 for 31.5 USD per hour
# 1 x sglang 0.5.23 on 2 x H100 SXM 80GB, aws p5.48xlarge (us-east-1)
set -euo pipefail
exec env CUDA_VISIBLE_DEVICES=0,1 sglang serve --model-path meta-llama/Llama-3.1-8B-Instruct --tp-size 2 --kv-cache-dtype fp8_e4m3 --context-length 8192 --max-running-requests 64 --mem-fraction-static 0.92 --host 0.0.0.0 --port 8000
