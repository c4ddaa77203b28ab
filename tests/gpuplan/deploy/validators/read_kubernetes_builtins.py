"""Runs beside kubernetes-validate: Deployments, Services and ConfigMaps against Kubernetes' own schemas, strictly."""

import sys
from pathlib import Path

import kubernetes_validate
import yaml

OWN = {"v1", "apps/v1"}
VERSION = "1.34"

for name in sys.argv[1:]:
    documents = [each for each in yaml.safe_load_all(Path(name).read_text()) if each["apiVersion"] in OWN]
    for document in documents:
        kubernetes_validate.validate(document, VERSION, strict=True)
    print("ok", name, len(documents))
