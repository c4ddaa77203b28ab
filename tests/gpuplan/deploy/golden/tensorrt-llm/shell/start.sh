#!/usr/bin/env bash
# Qwen/Qwen3-30B-A3B, planned by gpuplan 0.1.0 for 31.5 USD per hour
# 1 x tensorrt-llm 1.3.0rc27 on 8 x H100 SXM 80GB, aws p5.48xlarge (us-east-1)
set -euo pipefail
cd "$(dirname "$0")"
exec env CUDA_VISIBLE_DEVICES=0,1,2,3,4,5,6,7 trtllm-serve Qwen/Qwen3-30B-A3B --tp_size 8 --max_seq_len 8192 --max_batch_size 64 --kv_cache_free_gpu_memory_fraction 0.92 --config trtllm-options.yaml --host 0.0.0.0 --port 8000
