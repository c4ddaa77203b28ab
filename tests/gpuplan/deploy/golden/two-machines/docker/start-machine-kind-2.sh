#!/usr/bin/env bash
# meta-llama/Llama-3.1-8B-Instruct, planned by gpuplan 0.1.0 for 31.5 USD per hour
# 1 x vllm 0.33.0 on 16 x H100 SXM 80GB, aws p5.48xlarge (us-east-1)
# Planned with the machines' fast network: see that NCCL uses it (containers need its devices and IPC_LOCK), or replicas are slower.
# It is for each of the other machines of a replica.
# vllm/vllm-openai:v0.33.0 follows the pattern of v0.32.0, the newest tag seen (2026-11-22): see that it exists.
# A gated model needs its token in the environment: HF_TOKEN.
set -euo pipefail
cd "$(dirname "$0")"
: "${HEAD_ADDRESS:?set it to the IP address of the first machine of this replica}"
: "${NODE_RANK:?set it to the number of this machine in its replica: 1, 2, ...}"
docker run --detach --restart unless-stopped --name llama-3-1-8b-instruct-8e328f9c-8000 --network host --gpus '"device=0,1,2,3,4,5,6,7"' --shm-size 16g --env HF_TOKEN --env VLLM_API_KEY --volume "$HOME"/.cache/huggingface:/root/.cache/huggingface --env NODE_RANK --entrypoint sh vllm/vllm-openai:v0.33.0 -c 'exec "$@" --node-rank "$((NODE_RANK * 1))"' sh vllm serve meta-llama/Llama-3.1-8B-Instruct --tensor-parallel-size 8 --pipeline-parallel-size 2 --kv-cache-dtype auto --max-model-len 8192 --max-num-seqs 64 --gpu-memory-utilization 0.92 --nnodes 2 --master-addr "${HEAD_ADDRESS}" --headless
