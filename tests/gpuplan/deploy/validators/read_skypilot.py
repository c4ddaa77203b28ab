"""Runs in SkyPilot's own environment: reads task files as `sky launch` does, and lets its optimizer choose machines.

Its catalogs are fetched from the network; here they are the two machines that plans of the tests name, at a price that
no other has. Which clouds have an account, and how AWS names its zones, is said in place of asking them.
"""

import os
import sys
from pathlib import Path
from unittest.mock import patch

HEAD = "InstanceType,AcceleratorName,AcceleratorCount,vCPUs,MemoryGiB,GpuInfo,Price,SpotPrice,Region,AvailabilityZone"
CATALOGS = {
    "aws/vms.csv": [HEAD, "p5.48xlarge,H100,8,192,2048,,31.5,10,us-east-1,us-east-1a"],
    "gcp/vms.csv": [
        HEAD,
        "a3-highgpu-8g,,,208,1872,,11.5,5,us-central1,us-central1-a",
        ",H100,8,,,,20,10,us-central1,us-central1-a",
    ],
    "aws/images.csv": ["Tag,Region,OS,OSVersion,ImageId,CreationDate"],
    "gcp/images.csv": ["Tag,Region,ImageId"],
    "common/accelerators.csv": ["AcceleratorName,Clouds", "H100,AWS"],
    "common/metadata.csv": ["AcceleratorName,Memory,Manufacturer", "H100,80,NVIDIA"],
}
MACHINES = {"aws": "p5.48xlarge", "gcp": "a3-highgpu-8g"}

for name, lines in CATALOGS.items():
    file = Path(os.environ["HOME"], ".sky", "catalogs", "v8", name)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("\n".join([*lines, ""]))

import sky  # noqa: E402
from sky import check  # noqa: E402
from sky.catalog import aws_catalog  # noqa: E402
from sky.optimizer import Optimizer  # noqa: E402
from sky.utils import dag_utils  # noqa: E402

accounts = patch.object(
    check, "get_cached_enabled_clouds_or_refresh", lambda *_, **__: [sky.clouds.AWS(), sky.clouds.GCP()]
)
zones = patch.object(aws_catalog, "_fetch_and_apply_az_mapping", lambda offers: offers)
for name in sys.argv[1:]:
    task = sky.Task.from_yaml(name)
    assert task.run, name
    asked = next(iter(task.resources))
    if str(asked.cloud).lower() in MACHINES:
        graph = dag_utils.convert_entrypoint_to_dag(task)
        with accounts, zones:
            Optimizer.optimize(graph, quiet=True)
        chosen = graph.tasks[0].best_resources
        assert chosen.instance_type == MACHINES[str(chosen.cloud).lower()], chosen
        assert chosen.get_cost(3600) == 31.5, chosen
    print("ok", name)
