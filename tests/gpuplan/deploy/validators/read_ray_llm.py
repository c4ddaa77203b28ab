"""Runs in ray[llm]'s environment: each llm_config as Ray Serve LLM reads it, down to vLLM's own arguments."""

import sys
from pathlib import Path

import yaml
from ray.serve.llm import LLMConfig
from ray.serve.schema import ServeDeploySchema

for name in sys.argv[1:]:
    config = yaml.safe_load(Path(name).read_text())
    ServeDeploySchema.model_validate(config)
    for each in config["applications"][0]["args"]["llm_configs"]:
        read = LLMConfig(**each)
        engine = read.get_engine_config()
        print("ok", name, engine.placement_bundles)
