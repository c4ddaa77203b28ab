#!/usr/bin/env bash
# Three fleets: twenty services under quotas, machines that are owned, demand that grows over two years.
set -euo pipefail
cd "$(dirname "$0")"
plan fleet fleet.yaml --gap 0.02 --brief --quiet
plan fleet fleet_owned.yaml --gap 0.02 --brief
plan fleet fleet_two_years.yaml --gap 0.02
