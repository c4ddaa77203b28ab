#!/usr/bin/env bash
# meta-llama/Llama-3.1-8B-Instruct, planned by gpuplan 0.1.0 for 31.5 USD per hour
# 1 x vllm 0.33.0 on 4 x H100 SXM 80GB, aws p5.48xlarge (us-east-1)
# 4 x vllm 0.33.0 on 1 x H100 SXM 80GB, aws p5.48xlarge (us-east-1)
set -euo pipefail
trap 'kill $(jobs -p) 2>/dev/null || true' EXIT
env CUDA_VISIBLE_DEVICES=0,1,2,3 vllm serve meta-llama/Llama-3.1-8B-Instruct --tensor-parallel-size 4 --kv-cache-dtype auto --max-model-len 8192 --max-num-seqs 64 --gpu-memory-utilization 0.92 --host 0.0.0.0 --port 8000 &
env CUDA_VISIBLE_DEVICES=4 vllm serve meta-llama/Llama-3.1-8B-Instruct --tensor-parallel-size 1 --kv-cache-dtype auto --max-model-len 8192 --max-num-seqs 64 --gpu-memory-utilization 0.92 --host 0.0.0.0 --port 8001 &
env CUDA_VISIBLE_DEVICES=5 vllm serve meta-llama/Llama-3.1-8B-Instruct --tensor-parallel-size 1 --kv-cache-dtype auto --max-model-len 8192 --max-num-seqs 64 --gpu-memory-utilization 0.92 --host 0.0.0.0 --port 8002 &
env CUDA_VISIBLE_DEVICES=6 vllm serve meta-llama/Llama-3.1-8B-Instruct --tensor-parallel-size 1 --kv-cache-dtype auto --max-model-len 8192 --max-num-seqs 64 --gpu-memory-utilization 0.92 --host 0.0.0.0 --port 8003 &
env CUDA_VISIBLE_DEVICES=7 vllm serve meta-llama/Llama-3.1-8B-Instruct --tensor-parallel-size 1 --kv-cache-dtype auto --max-model-len 8192 --max-num-seqs 64 --gpu-memory-utilization 0.92 --host 0.0.0.0 --port 8004 &
wait -n
