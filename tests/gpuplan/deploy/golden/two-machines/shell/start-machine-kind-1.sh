#!/usr/bin/env bash
# meta-llama/Llama-3.1-8B-Instruct, planned by gpuplan 0.1.0 for 31.5 USD per hour
# 1 x vllm 0.33.0 on 16 x H100 SXM 80GB, aws p5.48xlarge (us-east-1)
# Planned with the machines' fast network: see that NCCL uses it (containers need its devices and IPC_LOCK), or replicas are slower.
# It is for the first machine of a replica.
set -euo pipefail
: "${HEAD_ADDRESS:?set it to the IP address of the first machine of this replica}"
exec env CUDA_VISIBLE_DEVICES=0,1,2,3,4,5,6,7 vllm serve meta-llama/Llama-3.1-8B-Instruct --tensor-parallel-size 8 --pipeline-parallel-size 2 --kv-cache-dtype auto --max-model-len 8192 --max-num-seqs 64 --gpu-memory-utilization 0.92 --nnodes 2 --node-rank 0 --master-addr "${HEAD_ADDRESS}" --host 0.0.0.0 --port 8000
