"""The VRAM model: what occupies each GPU, part by part.

In reading order:

    vram                           the door: all parts of a whole table, and what is left for requests
    weights, allocator, drafts     weights of each rank, in pieces that are allocated; what guesses tokens
    stages, pipelines              layers spread over pipeline stages
    buffers, activations, encoder, adapters, graphs, communication
                                   what an engine takes besides
    kv_cache, lengths              what one request keeps; requests of different lengths
    cache_plan, page_groups, token_pools, pools
                                   how engines cut what is left into blocks or tokens
    speculation, mig               guessing tokens; a slice of a card as a card of its own
    factors, distinct              the measured factors; equal columns found once
"""
