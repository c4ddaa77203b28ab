"""One serving engine, one file: what it supports, its defaults by version, its command line.

In reading order:

    engine, launch              what every engine answers; how one replica is started
    coverage, shape_refusals    which GPUs and models a fact covers; shapes that are not started, and why
    vllm, sglang, tensorrt_llm  the engines; their facts lie in data/
    facts, find, errors         dated facts with a source; a word -> an engine; what can be wrong
"""
