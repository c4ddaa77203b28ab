#!/usr/bin/env bash
# meta-llama/Llama-3.1-8B-Instruct, planned by gpuplan 0.1.0 for 31.5 USD per hour
# 1 x sglang 0.5.23 on 2 x H100 SXM 80GB, aws p5.48xlarge (us-east-1)
# lmsysorg/sglang:v0.5.23 follows the pattern of v0.5.21, the newest tag seen (2026-11-22): see that it exists.
# A gated model needs its token in the environment: HF_TOKEN.
set -euo pipefail
cd "$(dirname "$0")"
docker run --detach --restart unless-stopped --name llama-3-1-8b-instruct-8e328f9c-8000 --network host --gpus '"device=0,1"' --shm-size 16g --env HF_TOKEN --volume "$HOME"/.cache/huggingface:/root/.cache/huggingface --entrypoint sglang lmsysorg/sglang:v0.5.23 serve --model-path meta-llama/Llama-3.1-8B-Instruct --tp-size 2 --kv-cache-dtype fp8_e4m3 --context-length 8192 --max-running-requests 64 --mem-fraction-static 0.92 --host 0.0.0.0 --port 8000
