#!/usr/bin/env bash
# Four fleets: twenty services under quotas, owned machines, small models on shared GPUs, demand that grows for two years.
set -euo pipefail
cd "$(dirname "$0")"
plan fleet fleet.yaml --gap 0.02 --brief --quiet
plan fleet fleet_owned.yaml --gap 0.02 --brief
plan fleet fleet_shared_gpus.yaml --gap 0.02 --brief
plan fleet fleet_two_years.yaml --gap 0.04
