#!/usr/bin/env bash
# From a saved plan to the files that start it: those in deploy/compose and deploy/kubernetes were written like this.
set -euo pipefail
cd "$(dirname "$0")"/deploy
folder=$(mktemp -d)
trap 'rm -r "$folder"' EXIT
plan deploy plan.json --format compose,kubernetes --out "$folder" >"$folder/written.txt"
diff -r compose "$folder/compose" && echo "deploy/compose is what the plan says"
diff -r kubernetes "$folder/kubernetes" && echo "deploy/kubernetes is what the plan says"
plan deploy plan.json --format benchmark | grep '^vllm bench serve'
