"""What can be added to a model on a GPU: drafts, adapters, images, shared prefixes, slices; as sums by hand."""

from dataclasses import replace

import numpy as np
import pytest

from catalog.find import find_model
from optimizer.engines.find import find_engine
from optimizer.memory.adapters import Adapters
from optimizer.memory.kv_cache import UnknownKvFormat
from optimizer.memory.lengths import Lengths, requests_at_once
from optimizer.memory.mig import CannotShare, mig_slice
from optimizer.memory.pools import CannotDivide
from optimizer.memory.speculation import BadSpeculation, Speculation
from optimizer.memory.vram import MemorySettings, measure_memory

GIB = 2**30
VLLM = find_engine("vllm")


def measured(spec, rows, kv_format="bf16", seqs=64, engine=VLLM, **settings):
    lengths = {"max_model_len": 8192, "tokens_per_request": 2048, **settings}
    return measure_memory(spec, engine, rows, kv_format, MemorySettings(**lengths), np.array([seqs]))


# --- speculative decoding


def test_mtp_adds_the_layer_of_the_checkpoint_and_its_share_of_the_cache(make_gpu, make_rows):
    spec, rows = find_model("deepseek-ai/DeepSeek-V3"), make_rows([make_gpu("B300 SXM 288GB", "10.3", 275040)], [8])
    plain, guessing = (measured(spec, rows, speculation=each) for each in (None, Speculation("mtp", 1)))
    # 61 layers and one more, each 512 + 64 values of 2 bytes on every rank.
    assert plain.kv_bytes_per_token[0] == 61 * 576 * 2
    assert guessing.kv_bytes_per_token[0] == 62 * 576 * 2
    # One MTP layer: 256 experts of 3 * 2048 * 7168 fp8 values over 8 ranks are 1.31 GiB, the rest a tenth of that.
    experts = 256 * 3 * 2048 * 7168 / 8
    assert 1.0 < (guessing.weight_bytes[0] - plain.weight_bytes[0]) / experts < 1.2


def test_glm_5_2_with_mtp_keeps_what_its_log_says(make_gpu, make_rows):
    # Public logs on H20: 61,464 bytes per token without, 62,249 with MTP where every layer has indexer keys; GLM-5.2
    # shares them, so the difference of one layer is what is checked: 656 + 132.
    spec, rows = find_model("zai-org/GLM-5.2-FP8"), make_rows([make_gpu("H20 141GB", "9.0", 143771)], [8])
    rates = [measured(spec, rows, "fp8", speculation=s).kv_bytes_per_token[0] for s in (None, Speculation("mtp", 5))]
    assert rates[1] - rates[0] == 656 + 132


def test_a_draft_model_brings_its_weights_and_cache(make_gpu, make_rows):
    spec, draft = find_model("Qwen/Qwen3-32B"), find_model("Qwen/Qwen3-0.6B")
    rows = make_rows([make_gpu()], [2])
    plain, alone = measured(spec, rows), measured(draft, rows)
    both = measured(spec, rows, speculation=Speculation("draft_model", 4, draft))
    positions = 40960 * 128 * 2  # which both turn alike
    assert both.weight_bytes[0] == plain.weight_bytes[0] + alone.weight_bytes[0] - positions
    assert both.kv_bytes_per_token[0] == plain.kv_bytes_per_token[0] + alone.kv_bytes_per_token[0]


def test_an_eagle_head_shares_the_vocabulary_of_its_model(llama_70b, make_llama, make_gpu, make_rows):
    rows, head = make_rows([make_gpu()], [4]), make_llama(layers=1)
    plain = measured(llama_70b, rows)
    guessing = measured(llama_70b, rows, speculation=Speculation("eagle", 3, head))
    layer = (64 + 2 * 8 + 64) * 128 * 8192 // 4 + 3 * 28672 * 8192 // 4 + 2 * 8192
    joined = 2 * 8192 * 8192  # embedding and hidden state, on every rank
    assert guessing.weight_bytes[0] - plain.weight_bytes[0] == 2 * (layer + joined + 8192)  # and its final norm
    assert guessing.kv_bytes_per_token[0] == 81 * (8 // 4) * (128 + 128) * 2


def test_drafts_lie_on_the_last_stage(llama_70b, make_llama, make_gpu, make_rows):
    rows = make_rows([make_gpu()], [1, 1], [4, 4])
    head = make_llama(layers=1)
    plain, guessing = (measured(llama_70b, rows, speculation=s) for s in (None, Speculation("eagle", 3, head)))
    # The last of four stages holds the LM head already: its layer is what one stage gains.
    layer = 2 * ((64 + 2 * 8 + 64) * 128 * 8192 + 3 * 28672 * 8192 + 2 * 8192)
    assert 0 <= guessing.weight_bytes[0] - plain.weight_bytes[0] <= layer + 2 * 8192 + 2 * 2 * 8192 * 8192


def test_ngrams_take_nothing_but_logits(llama_70b, make_gpu, make_rows):
    rows = make_rows([make_gpu()], [8])
    plain, guessing = (measured(llama_70b, rows, seqs=1024, speculation=s) for s in (None, Speculation("ngram", 4)))
    assert guessing.weight_bytes[0] == plain.weight_bytes[0]
    assert guessing.kv_bytes_per_token[0] == plain.kv_bytes_per_token[0]
    assert guessing.activation_bytes[0, 0] - plain.activation_bytes[0, 0] == pytest.approx(1024 * 128256 * 10)


def test_guesses_keep_a_state_each(make_gpu, make_rows):
    spec, rows = find_model("Qwen/Qwen3.5-27B"), make_rows([make_gpu()], [2])
    plain, guessing = (measured(spec, rows, speculation=s) for s in (None, Speculation("mtp", 3)))
    assert guessing.requests_capacity[0, 0] < plain.requests_capacity[0, 0]


def test_what_does_not_suit_the_model_is_said(llama_70b, make_gpu, make_rows):
    with pytest.raises(BadSpeculation, match="no multi-token-prediction layers"):
        measured(llama_70b, make_rows([make_gpu()], [4]), speculation=Speculation("mtp", 1))
    with pytest.raises(BadSpeculation, match="needs a draft"):
        Speculation("eagle", 3)
    with pytest.raises(BadSpeculation, match="known are mtp"):
        Speculation("medusa", 3)


# --- LoRA


def test_lora_buffers_are_rank_times_both_sides_of_every_matrix(llama_70b, make_gpu, make_rows):
    memory = measured(llama_70b, make_rows([make_gpu()], [4]), adapters=Adapters(rank=16, loaded=3))
    # Inputs are whole for column-parallel matrices, outputs for row-parallel ones.
    q, kv, o = 8192 + 8192 // 4, 8192 + 1024 // 4, 8192 // 4 + 8192
    gate, down = 8192 + 28672 // 4, 28672 // 4 + 8192
    assert memory.adapter_bytes[0] == 80 * (q + 2 * kv + o + 2 * gate + down) * 16 * 3 * 2


def test_experts_have_buffers_each(make_gpu, make_rows):
    spec = find_model("Qwen/Qwen3-30B-A3B")
    memory = measured(spec, make_rows([make_gpu()], [1]), adapters=Adapters(rank=8, parts=("experts",)))
    assert memory.adapter_bytes[0] == 48 * 128 * 3 * (2048 + 768) * 8 * 2


# --- offload


def test_an_offloaded_gib_returns_less_than_it_is_for_a_layer_is_streamed(llama_70b, make_gpu, make_rows):
    # OPT-6.7B on vLLM V0 gave 0.62 GiB back for 1 GiB, 1.51 for 2: one layer of 0.38 GiB stays to be streamed.
    rows = make_rows([make_gpu()], [4])
    plain, part = (measured(llama_70b, rows, offload_bytes=size) for size in (0, 8 * GIB))
    layer = 2 * ((64 + 2 * 8 + 64) * 128 * 8192 // 4 + 3 * 28672 * 8192 // 4 + 2 * 8192)
    assert part.offloaded_bytes[0] == 8 * GIB
    assert part.weight_bytes[0] == plain.weight_bytes[0] - 8 * GIB
    assert part.kv_pool_bytes[0, 0] - plain.kv_pool_bytes[0, 0] == pytest.approx(8 * GIB - layer, abs=1)


def test_no_more_is_offloaded_than_there_is(llama_70b, make_gpu, make_rows):
    memory = measured(llama_70b, make_rows([make_gpu()], [8]), offload_bytes=10**12)
    assert memory.weight_bytes[0] == 131072 * 128 * 2  # the table of positions stays


# --- images


def test_the_encoder_is_profiled_with_whole_images(make_gpu, make_rows):
    spec, rows = find_model("Qwen/Qwen2.5-VL-7B-Instruct"), make_rows([make_gpu()], [1])
    memory = measured(spec, rows, seqs=8, max_batched_tokens=2048)
    # One image of 16,384 tokens; 4 patches each, 4 * 1280 + 1.5 * (gate and up) values, and the encoded image.
    tower = spec.vision
    widest = max(m.outputs for m in tower.matrices if m.copies >= tower.layers and m.inputs > 1)
    by_hand = 16384 * 2 * (4 * (4 * 1280 + 1.5 * widest) + 3584)
    assert memory.activation_bytes[0, 0] == pytest.approx(by_hand)
    assert 1.8 < by_hand / GIB < 2.7  # a public log on vLLM V0: 2.47


def test_a_language_model_alone_has_neither_tower_nor_images(make_gpu, make_rows):
    spec, rows = find_model("Qwen/Qwen2.5-VL-7B-Instruct"), make_rows([make_gpu()], [1])
    whole, alone = (measured(spec, rows, seqs=8, max_batched_tokens=2048, language_model_only=o) for o in (False, True))
    tower = sum(m.parameters for m in spec.vision.matrices) * 2
    assert whole.weight_bytes[0] - alone.weight_bytes[0] == tower
    assert alone.activation_bytes[0, 0] < whole.activation_bytes[0, 0] / 4


# --- context parallelism


def test_context_parallelism_multiplies_the_tokens_of_latent_attention(make_gpu, make_rows):
    # Kimi-K2 at TP 8: 46.80 GiB held 715,072 tokens, with context parallelism of 8 5,721,088 (public logs).
    spec = find_model("moonshotai/Kimi-K2-Instruct")
    rows = make_rows([make_gpu("H200 SXM 141GB", "9.0", 143771)], [8])
    plain, parallel = (measured(spec, rows, decode_context_parallel=ranks) for ranks in (1, 8))
    assert parallel.kv_bytes_per_token[0] == plain.kv_bytes_per_token[0] / 8 == 61 * 576 * 2 / 8
    assert parallel.kv_tokens[0, 0] == pytest.approx(8 * plain.kv_tokens[0, 0], rel=1e-3)


def test_context_parallelism_needs_copies_of_a_kv_head(llama_70b, make_gpu, make_rows):
    rows = make_rows([make_gpu()], [16], node=16)
    assert measured(llama_70b, rows, decode_context_parallel=2).kv_bytes_per_token[0] == 40960 / 2
    with pytest.raises(CannotDivide, match="must divide the ranks that keep the same tokens"):
        measured(llama_70b, rows, decode_context_parallel=4)
    with pytest.raises(CannotDivide, match="only a window or a state"):
        measured(find_model("google/gemma-3-27b-it"), rows, decode_context_parallel=2)


# --- lengths and prefixes


def test_a_shared_prefix_is_kept_once(llama_70b, make_gpu, make_rows):
    rows = make_rows([make_gpu()], [4])
    plain = measured(llama_70b, rows)
    shared = measured(llama_70b, rows, shared_prefix_tokens=1024)
    free = int(plain.kv_pool_bytes[0, 0] // (16 * 81920)) - 1
    assert plain.requests_capacity[0, 0] == free // 128
    assert shared.requests_capacity[0, 0] == (free - 64) // 64


def test_the_last_token_is_never_shared(llama_70b, make_gpu, make_rows):
    everything = measured(llama_70b, make_rows([make_gpu()], [4]), shared_prefix_tokens=2048)
    free = int(everything.kv_pool_bytes[0, 0] // (16 * 81920)) - 1
    assert everything.requests_capacity[0, 0] == free - 127


def test_mixed_lengths_count_by_their_mean_and_a_margin(llama_70b, make_gpu, make_rows):
    rows = make_rows([make_gpu()], [4])
    lengths = Lengths((1024, 8192), (1, 1))
    some = measured(llama_70b, rows, lengths=lengths)
    free = int(some.kv_pool_bytes[0, 0] // (16 * 81920)) - 1
    mean, deviation = (64 + 512) / 2, (512 - 64) / 2
    most = int(some.requests_capacity[0, 0])
    z = 2.3263478740408408
    assert most * mean + z * deviation * most**0.5 <= free < (most + 1) * mean + z * deviation * (most + 1) ** 0.5
    assert measured(llama_70b, rows, tokens_per_request=8192).requests_capacity[0, 0] < most


def test_a_margin_holds_as_often_as_it_says():
    lengths = Lengths((10, 100), (3, 1), confidence=0.95)
    most = int(requests_at_once(np.array([[5000]]), np.array([[10, 100]]), lengths)[0, 0])
    drawn = np.random.default_rng(7).choice([10, 100], p=[0.75, 0.25], size=(20000, most)).sum(axis=1)
    assert np.mean(drawn <= 5000) == pytest.approx(0.95, abs=0.015)


def test_contexts_beyond_a_million_tokens_are_counted_exactly(make_llama, make_gpu, make_rows):
    spec = replace(make_llama(layers=1, kv_heads=8), max_context_tokens=10_000_000)
    memory = measured(spec, make_rows([make_gpu()], [8]), max_model_len=10_000_000, tokens_per_request=10_000_000)
    blocks = int(memory.kv_pool_bytes[0, 0] // (16 * 512)) - 1
    assert memory.requests_capacity[0, 0] == blocks // 625_000
    assert memory.longest_context[0, 0] == 10_000_000


# --- cross-attention


def test_cross_attention_keeps_the_tokens_of_the_encoder(make_llama, make_gpu, make_rows):
    # The shape of Whisper large: 32 layers, 20 heads of 64, 1,500 frames.
    spec = make_llama(hidden=1280, layers=32, heads=20, kv_heads=20, head=64, intermediate=5120, vocabulary=51866)
    (group,), own = spec.layers, spec.layers[0].mixers[0]
    spec = replace(spec, layers=(replace(group, mixers=(own, replace(own, cross=True, window=1500))),))
    memory = measured(spec, make_rows([make_gpu()], [1]), max_model_len=448, tokens_per_request=448)
    page = 16 * 20 * (64 + 64) * 2
    assert memory.kv_bytes_per_token[0] == 32 * page / 16
    assert memory.state_bytes_per_request[0] == 32 * 94 * page  # 1,500 frames are 94 blocks
    # Own tokens and the encoder's form a group each: 28 blocks and 94 of 32 layers.
    blocks = int(memory.kv_pool_bytes[0, 0] // (32 * page)) - 1
    assert memory.requests_capacity[0, 0] == blocks // (28 + 94)


# --- four bits


@pytest.mark.parametrize(("kv_format", "vector"), [("nvfp4", 64 + 8), ("int4_per_token_head", 64 + 4)])
def test_a_cache_of_four_bits_keeps_its_scales(kv_format, vector, llama_70b, make_gpu, make_rows):
    memory = measured(llama_70b, make_rows([make_gpu()], [4]), kv_format)
    assert memory.kv_bytes_per_token[0] == 80 * (8 // 4) * 2 * vector


def test_latent_attention_has_no_cache_of_four_bits(make_gpu, make_rows):
    spec, gpu = find_model("deepseek-ai/DeepSeek-V3"), make_gpu("B200 SXM 180GB", "10.0", 183359)
    assert "latent attention" in VLLM.refuses(spec, gpu, "nvfp4")
    with pytest.raises(UnknownKvFormat, match="Latent attention"):
        measured(spec, make_rows([gpu], [8]), "nvfp4")


def test_four_bits_are_served_on_request_only(llama_70b, make_gpu):
    blackwell, hopper = make_gpu("B200 SXM 180GB", "10.0", 183359), make_gpu()
    assert "nvfp4" not in VLLM.kv_formats(llama_70b, blackwell)
    assert VLLM.refuses(llama_70b, blackwell, "nvfp4") is None
    assert "H100" in VLLM.refuses(llama_70b, hopper, "nvfp4")


# --- several models on one GPU


def test_an_engine_does_not_start_unless_its_share_is_free(make_llama, make_gpu, make_rows):
    small = make_llama(hidden=2048, layers=16, heads=16, kv_heads=8, intermediate=8192)
    rows = make_rows([make_gpu()], [1])
    assert measured(small, rows, memory_utilization=0.4, occupied_bytes=40 * GIB).fits[0, 0]
    assert not measured(small, rows, memory_utilization=0.6, occupied_bytes=40 * GIB).fits[0, 0]


def test_a_slice_has_its_part_of_memory_and_compute(make_gpu):
    whole = replace(
        make_gpu(), mig_capable=True, memory_bandwidth_bytes_per_second=3.35e12, flop_per_second={"bf16": 7e14}
    )
    part = mig_slice(whole, compute_slices=3, memory_slices=4)
    assert part.memory_bytes == whole.memory_bytes // 2
    assert part.memory_bandwidth_bytes_per_second == 3.35e12 / 2
    assert part.flop_per_second["bf16"] == pytest.approx(3e14)
    with pytest.raises(CannotShare, match="cannot be split"):
        mig_slice(part, 1, 1)
    with pytest.raises(CannotShare, match="8 compute"):
        mig_slice(whole, 8, 8)


@pytest.mark.parametrize("name", ["offload_bytes", "shared_prefix_tokens", "occupied_bytes", "decode_context_parallel"])
def test_negative_settings_are_refused(name):
    with pytest.raises(ValueError, match=name):
        MemorySettings(1024, 1024, **{name: -1})


# --- sparse latent attention


@pytest.mark.parametrize(
    ("version", "context", "copies"), [("0.33.0", 262_144, 5), ("0.33.0", 1_048_576, 2), ("0.30.0", 1_048_576, 5)]
)
def test_sparse_latent_attention_keeps_room_to_read_prompts_from_loading_on(
    make_gpu, make_rows, version, context, copies
):
    spec, rows = find_model("deepseek-ai/DeepSeek-V3.2"), make_rows([make_gpu("H200 SXM 141GB", "9.0", 143771)], [8])
    engine = find_engine("vllm", version)
    lengths = (1024, context)
    short, long = (
        measured(spec, rows, "fp8", 1, engine, max_model_len=n, tokens_per_request=512, max_batched_tokens=256)
        for n in lengths
    )
    assert long.weight_bytes[0] - short.weight_bytes[0] == (copies * context - 5 * 1024) * 576 * 2
    experts = 256 * 2 * 8 * (7168 + 7168)  # the workspace of the layer before, of 256 tokens
    assert long.activation_bytes[0, 0] == 512 * 2**20 + experts  # the indexer's logits beside it
    dense = [measured(find_model("deepseek-ai/DeepSeek-V3"), rows, max_model_len=n) for n in (4096, 8192)]
    assert dense[0].weight_bytes[0] == dense[1].weight_bytes[0]  # no indexer, nothing is kept


def test_layers_that_share_a_choice_had_an_indexer_and_keys_of_their_own_at_first(make_gpu, make_rows):
    # GLM-5.2 in FP8 on H20: 502,016 tokens in 28.74 GiB are 78 x (656 + 132) bytes; GLM-5.3 with 0.28 keeps 53,940.
    rows = make_rows([make_gpu("H200 SXM 141GB", "9.0", 143771)], [8])
    early, late = (
        measured(find_model("zai-org/GLM-5.2-FP8"), rows, "fp8", engine=find_engine("vllm", version))
        for version in ("0.22.0", "0.28.0")
    )
    assert early.kv_bytes_per_token[0] == 78 * (656 + 132)
    assert late.kv_bytes_per_token[0] == 78 * 656 + 21 * 132
    queries, keys_and_weights = 32 * 128 * 2048 + 32 * 16 * 4, (128 + 32) * 6144 * 2  # fp8 with scales, and 16 bit
    assert early.weight_bytes[0] - late.weight_bytes[0] == pytest.approx(57 * (queries + keys_and_weights), rel=1e-3)
