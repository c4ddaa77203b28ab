#!/usr/bin/env bash
# meta-llama/Llama-3.1-8B-Instruct, planned by gpuplan 0.1.0 for 31.5 USD per hour
# 1 x vllm 0.33.0 on 16 x H100 SXM 80GB, aws p5.48xlarge (us-east-1)
# Planned with the machines' fast network: see that NCCL uses it (containers need its devices and IPC_LOCK), or replicas are slower.
# Afterwards: plan check promise PLAN.json guidellm-result.json
set -euo pipefail
: "${BASE_URL:=http://localhost:8000}"
guidellm run --backend "kind=openai_http,target=$BASE_URL,request_format=/v1/completions" --profile kind=concurrent,streams=64 --data kind=synthetic_text,prompt_tokens=1024,output_tokens=512 --tokenizer '{"kind": "huggingface_auto", "model": "meta-llama/Llama-3.1-8B-Instruct"}' --constraint kind=max_requests,count=320 --output kind=json,path=guidellm-result.json --disable-console-interactive
