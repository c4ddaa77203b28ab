"""Runs in vLLM's environment with SGLang's files before it: SGLang's own parser reads commands.

Each line of stdin is a JSON list of words after `sglang serve`. What its files import and no parser needs (kernels,
notebooks) is put in place by mocks. Abbreviations pass argparse, so options must also be spelt so.
"""

import json
import sys
from argparse import ArgumentParser
from importlib.machinery import ModuleSpec
from unittest.mock import MagicMock

for name in ("triton", "triton.language", "IPython", "IPython.display"):
    sys.modules[name] = MagicMock(__path__=[], __spec__=ModuleSpec(name, None), __version__="0")

from sglang.srt.server_args import ServerArgs  # noqa: E402

parser = ArgumentParser()
ServerArgs.add_cli_args(parser)
for line in sys.stdin:
    words = json.loads(line)
    options = {word for word in words if word.startswith("--")}
    assert options <= set(parser._option_string_actions), options - set(parser._option_string_actions)
    assert parser.parse_args(words).model_path
    print("ok", words[:3])
