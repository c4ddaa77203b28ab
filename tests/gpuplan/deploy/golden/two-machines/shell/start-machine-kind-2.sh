#!/usr/bin/env bash
# meta-llama/Llama-3.1-8B-Instruct, planned by gpuplan 0.1.0 for 31.5 USD per hour
# 1 x vllm 0.33.0 on 16 x H100 SXM 80GB, aws p5.48xlarge (us-east-1)
# Planned with the machines' fast network: see that NCCL uses it (containers need its devices and IPC_LOCK), or replicas are slower.
# It is for each of the other machines of a replica.
set -euo pipefail
: "${HEAD_ADDRESS:?set it to the IP address of the first machine of this replica}"
: "${NODE_RANK:?set it to the number of this machine in its replica: 1, 2, ...}"
exec env CUDA_VISIBLE_DEVICES=0,1,2,3,4,5,6,7 vllm serve meta-llama/Llama-3.1-8B-Instruct --tensor-parallel-size 8 --pipeline-parallel-size 2 --kv-cache-dtype auto --max-model-len 8192 --max-num-seqs 64 --gpu-memory-utilization 0.92 --nnodes 2 --master-addr "${HEAD_ADDRESS}" --headless --node-rank "$((NODE_RANK * 1))"
