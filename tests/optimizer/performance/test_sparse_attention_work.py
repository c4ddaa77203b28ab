"""What sparse attention reads and computes, by hand: the chosen tokens, and a key of every token where one chooses."""

import json
from pathlib import Path

import numpy as np
import pytest

from catalog.read import read_config
from gpu_db.load import load_gpus
from optimizer.performance.operations import measure_work
from optimizer.replica_columns import ReplicaColumns

CONFIGS = json.loads((Path(__file__).parents[2] / "oracles" / "latent_and_recurrent_configs.json").read_text())
CONTEXT = 10_000


@pytest.fixture(scope="module")
def one_h200():
    one, none = np.ones(1, dtype=np.int64), np.full(1, np.nan)
    gpu = load_gpus()["H200 SXM 141GB"]
    return ReplicaColumns((gpu,), one * 0, one, one, one, one, one, one, none, np.zeros(1, dtype=bool), none)


def work_of(name, rows):
    return measure_work(read_config(CONFIGS[name]), rows, 2.0, CONTEXT - 1, 2)


def test_glm_5_2_reads_keys_and_computes_scores_only_in_its_21_choosing_layers(one_h200):
    work = work_of("zai-org/GLM-5.2", one_h200)
    assert work.decode_kv_bytes[0] == 78 * 2048 * 576 * 2 + 21 * CONTEXT * 128
    attended = 78 * 2 * 64 * (2 * 512 + 64) * 2048
    assert work.decode_attention_flop[0] == attended + 21 * 2 * 32 * 128 * CONTEXT


def test_minimax_m3_reads_all_keys_and_values_in_its_three_dense_layers_only(one_h200):
    work = work_of("MiniMaxAI/MiniMax-M3", one_h200)
    per_token = 4 * (128 + 128) * 2
    assert work.decode_kv_bytes[0] == 3 * CONTEXT * per_token + 57 * (2048 * per_token + CONTEXT * 128 * 2)
    attended = 2 * 64 * (128 + 128) * (3 * CONTEXT + 57 * 2048)
    assert work.decode_attention_flop[0] == attended + 57 * 2 * 4 * 128 * CONTEXT


def test_deepseek_v4_reads_its_window_and_one_entry_per_ratio(one_h200):
    work = work_of("deepseek-ai/DeepSeek-V4-Flash", one_h200)
    chosen = 21 * (min(512, CONTEXT / 4) * 512 * 2 + CONTEXT / 4 * 128)
    everything = 20 * CONTEXT / 128 * 512 * 2
    assert work.decode_kv_bytes[0] == pytest.approx(43 * 128 * 512 * 2 + chosen + everything)
