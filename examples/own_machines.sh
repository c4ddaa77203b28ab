#!/usr/bin/env bash
# Own machines (billing "owned") and a negotiated price beside the bundled on-demand prices.
set -euo pipefail
cd "$(dirname "$0")"
plan --model llama-3.3-70b --min-tps 2000 --max-tpot 50ms --offers own_offers.csv --billing owned,on-demand
