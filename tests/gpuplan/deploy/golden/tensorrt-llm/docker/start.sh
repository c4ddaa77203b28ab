#!/usr/bin/env bash
# Qwen/Qwen3-30B-A3B, planned by gpuplan 0.1.0 for 31.5 USD per hour
# 1 x tensorrt-llm 1.3.0rc27 on 8 x H100 SXM 80GB, aws p5.48xlarge (us-east-1)
# nvcr.io/nvidia/tensorrt-llm/release:1.3.0rc27 follows the pattern of 1.3.0rc13, the newest tag seen (2026-11-22): see that it exists.
# A gated model needs its token in the environment: HF_TOKEN.
set -euo pipefail
cd "$(dirname "$0")"
docker run --detach --restart unless-stopped --name qwen3-30b-a3b-34148948-8000 --network host --gpus '"device=0,1,2,3,4,5,6,7"' --shm-size 16g --env HF_TOKEN --volume "$HOME"/.cache/huggingface:/root/.cache/huggingface --volume "$PWD"/trtllm-options.yaml:/etc/gpuplan/trtllm-options.yaml:ro --entrypoint trtllm-serve nvcr.io/nvidia/tensorrt-llm/release:1.3.0rc27 Qwen/Qwen3-30B-A3B --tp_size 8 --max_seq_len 8192 --max_batch_size 64 --kv_cache_free_gpu_memory_fraction 0.92 --config /etc/gpuplan/trtllm-options.yaml --host 0.0.0.0 --port 8000
