#!/usr/bin/env bash
# Qwen/Qwen3-30B-A3B, planned by gpuplan 0.1.0 for 31.5 USD per hour
# 1 x tensorrt-llm 1.3.0rc27 on 8 x H100 SXM 80GB, aws p5.48xlarge (us-east-1)
# Afterwards: plan check promise PLAN.json guidellm-result.json
set -euo pipefail
: "${BASE_URL:=http://localhost:8000}"
guidellm run --backend "kind=openai_http,target=$BASE_URL,request_format=/v1/completions" --profile kind=concurrent,streams=64 --data kind=synthetic_text,prompt_tokens=1024,output_tokens=512 --tokenizer '{"kind": "huggingface_auto", "model": "Qwen/Qwen3-30B-A3B"}' --constraint kind=max_requests,count=320 --output kind=json,path=guidellm-result.json --disable-console-interactive
