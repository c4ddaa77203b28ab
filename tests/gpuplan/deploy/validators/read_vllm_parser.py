"""Runs in vLLM's environment (VLLM_TARGET_DEVICE=cpu): its own parser reads commands and --config files.

Each line of stdin is a JSON list of words after `vllm`. Abbreviations pass argparse, so options must also be spelt so.
"""

import argparse
import json
import sys

from vllm.entrypoints.cli.benchmark.serve import BenchmarkServingSubcommand
from vllm.utils.argparse_utils import FlexibleArgumentParser

try:
    from vllm.entrypoints.common.cli_args import make_arg_parser  # 0.33
except ImportError:
    from vllm.entrypoints.launchers.cli_args import make_arg_parser  # 0.32


def parser_of(words):
    root = FlexibleArgumentParser(prog="vllm")
    subparsers = root.add_subparsers(dest="subparser")
    serve = subparsers.add_parser("serve")
    serve.add_argument("model_tag", type=str, nargs="?")
    make_arg_parser(serve)
    bench = subparsers.add_parser("bench").add_subparsers(dest="bench_type")
    BenchmarkServingSubcommand.add_cli_args(bench.add_parser("serve"))
    return root, serve if words[0] == "serve" else bench.choices["serve"]


for line in sys.stdin:
    words = json.loads(line)
    root, own = parser_of(words)
    options = {word for word in words if word.startswith("--")}
    assert options <= set(own._option_string_actions), options - set(own._option_string_actions)
    parsed = root.parse_args(words)
    assert isinstance(parsed, argparse.Namespace)
    print("ok", words[:3])
