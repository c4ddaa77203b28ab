"""Curves of collectives are met where they were measured."""

from __future__ import annotations

import numpy as np
import pytest

from gpuplan.fitting.collectives import SIZES, distil, fit_curve


def test_a_latency_and_a_bandwidth_come_back():
    sizes = np.array([2.0**n for n in range(11, 30, 3)])
    terms, error = fit_curve(sizes, 5e-6 + sizes / 400e9)
    np.testing.assert_allclose(terms, [5e-6, 0, 1 / 400e9], rtol=1e-6, atol=1e-12)
    assert error < 1e-6


def test_only_kernels_inside_a_graph_are_read(tmp_path):
    head = "gpu,library,library_version,kernel,num_gpus,uni_spec_gbs,source," + ",".join(SIZES)
    times = ",".join(str(5 + size / 4e5) for size in SIZES.values())
    path = tmp_path / "allreduce.csv"
    rows = [f"H100,vllm,1,{kernel},8,450,somewhere,{times}" for kernel in ("vLLM_custom_graph", "vLLM_custom_eager")]
    path.write_text("\n".join([head, *rows]), encoding="utf-8")
    (curve,) = distil(path)
    assert (curve["engine"], curve["ranks"], curve["link_bytes_per_second"]) == ("vllm", 8, 450e9)
    assert curve["seconds_per_byte"] == pytest.approx(1 / 400e9, rel=1e-3)
