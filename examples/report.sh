#!/usr/bin/env bash
# A plan is saved, then told to someone who signs: with a quotation for a server, and as used in working hours.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -r "$folder"' EXIT
plan --model llama-3.3-70b --min-tps 2000 --max-tpot 50ms --save "$folder/plan.json" --quiet
plan report "$folder/plan.json" --out "$folder/report.md" --server "DGX H200" --server-price 410k --utilization 40% \
  >"$folder/written.txt"
grep -A 10 '^\*\*Cost over 1 to 5 years' "$folder/report.md"
