"""What inference engines print on /metrics, in their own formats and about as long as in real life.

After the engines' documentation: vLLM's usage/metrics, SGLang's production_metrics, TensorRT-LLM's Prometheus metrics
and the metrics of Triton's TensorRT-LLM backend.
"""

from collections.abc import Iterable, Sequence

_VLLM_HISTOGRAMS = {
    "iteration_tokens_total": (1, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192),
    "time_to_first_token_seconds": (0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5),
    "inter_token_latency_seconds": (0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1, 2.5, 5),
    "e2e_request_latency_seconds": (0.3, 0.5, 0.8, 1, 1.5, 2, 2.5, 5, 10, 15, 20, 30, 40, 50, 60, 120, 240, 480),
    "request_prompt_tokens": (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000, 20000),
    "request_generation_tokens": (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000),
    "request_params_n": (1, 2, 5, 10, 20),
}


def vllm(
    waiting: float = 0,
    running: float = 4,
    kv_usage: float = 0.25,
    engines: int = 1,
    loras: Sequence[str] = (),
    max_lora: int = 0,
    model: str = "meta-llama/Llama-3.1-8B-Instruct",
    version: int = 1,
    scrape: int = 0,
) -> str:
    """vLLM V1 or V0. Of data-parallel engines, each has the given numbers; `scrape` changes counters only."""
    usage = "kv_cache_usage_perc" if version == 1 else "gpu_cache_usage_perc"
    labels = [f'engine="{number}",model_name="{model}"' for number in range(engines)]
    if version == 0:
        labels = [f'model_name="{model}"']
    lines = [*_python_process(scrape)]
    gauges = {
        "num_requests_running": ("Number of requests in model execution batches.", running),
        "num_requests_waiting": ("Number of requests waiting to be processed.", waiting),
        "num_requests_waiting_by_reason": ("Number of requests waiting, by reason.", waiting),
        "engine_sleep_state": ("Engine sleep state.", 0),
        usage: ("KV-cache usage. 1 means 100 percent usage.", kv_usage),
    }
    for name, (meaning, value) in gauges.items():
        lines += _family(f"vllm:{name}", meaning, "gauge", [(label, value) for label in labels])
    for name in ("prefix_cache_queries_total", "prefix_cache_hits_total", "num_preemptions_total"):
        lines += _family(f"vllm:{name}", "Counts.", "counter", [(label, 1000 + scrape) for label in labels])
    for name, bounds in _VLLM_HISTOGRAMS.items():
        lines += _histogram(f"vllm:{name}", bounds, labels, scrape)
    info = 'block_size="16",cache_dtype="auto",enable_prefix_caching="True",num_gpu_blocks="27391"'
    lines += _family("vllm:cache_config_info", "Information of the LLMEngine CacheConfig", "gauge", [(info, 1)])
    if max_lora:
        lines += _lora(loras, max_lora)
    return "\n".join([*lines, ""])


def sglang(
    waiting: float = 0,
    running: float = 4,
    kv_usage: float = 0.25,
    dp_ranks: int = 1,
    tp_ranks: int = 1,
    priorities: Sequence[int] = (),
    scrape: int = 0,
) -> str:
    """SGLang; every tensor-parallel rank repeats the numbers, and every priority has a part of the requests."""
    labels = [
        f'dp_rank="{dp}",engine_type="unified",model_name="m",pp_rank="0",tp_rank="{tp}"'
        for dp in range(dp_ranks)
        for tp in range(tp_ranks)
    ]
    totals = [f'{label},priority=""' if priorities else label for label in labels]
    parts = [f'{label},priority="{priority}"' for label in labels for priority in priorities]
    lines: list[str] = []
    for name, value in (("num_running_reqs", running), ("num_queue_reqs", waiting)):
        samples = [(label, value) for label in totals] + [(label, value) for label in parts]
        lines += _family(f"sglang:{name}", f"The number of {name}.", "gauge", samples)
    lines += _family("sglang:num_queue_reqs_extra", "Another.", "gauge", [("", 99)])
    lines += _family("sglang:token_usage", "The token usage.", "gauge", [(label, kv_usage) for label in labels])
    lines += _family("sglang:gen_throughput", "The generation throughput.", "gauge", [(labels[0], 86.5 + scrape)])
    return "\n".join([*lines, ""])


def trtllm(waiting: float = 0, running: float = 4, kv_usage: float = 0.25, scrape: int = 0) -> str:
    """trtllm-serve."""
    label = 'engine_type="trtllm",model_name="m"'
    lines = _family("trtllm_request_success_total", "Requests.", "counter", [(f'{label},reason="length"', 9 + scrape)])
    for name, value in (
        ("kv_cache_hit_rate", 0.5),
        ("kv_cache_utilization", kv_usage),
        ("num_requests_running", running),
        ("num_requests_waiting", waiting),
    ):
        lines += _family(f"trtllm_{name}", name, "gauge", [(label, value)])
    return "\n".join([*lines, ""])


def triton(waiting: float = 0, running: float = 4, kv_usage: float = 0.25, scrape: int = 0) -> str:
    """Triton's TensorRT-LLM backend."""
    model = 'model="tensorrt_llm"'
    requests = {"waiting": waiting, "context": 1, "scheduled": running, "max": 512, "active": running}
    blocks = {"fraction": kv_usage, "tokens_per": 64, "used": 1, "free": 6239, "max": 6239}
    lines = _family("nv_inference_count", "Inferences", "counter", [(f'{model},version="1"', 17 + scrape)])
    lines += _family(
        "nv_trt_llm_request_metrics",
        "TRT LLM request metrics",
        "gauge",
        [(f'{model},request_type="{kind}",version="1"', value) for kind, value in requests.items()],
    )
    lines += _family(
        "nv_trt_llm_kv_cache_block_metrics",
        "TRT LLM KV cache block metrics",
        "gauge",
        [(f'kv_cache_block_type="{kind}",{model},version="1"', value) for kind, value in blocks.items()],
    )
    return "\n".join([*lines, ""])


def _family(name: str, meaning: str, kind: str, samples: Iterable[tuple[str, float]]) -> list[str]:
    lines = [f"# HELP {name} {meaning}", f"# TYPE {name} {kind}"]
    return lines + [f"{name}{{{labels}}} {float(value)}" for labels, value in samples]


def _histogram(name: str, bounds: Sequence[float], labels: Sequence[str], scrape: int) -> list[str]:
    lines = [f"# HELP {name} Histogram.", f"# TYPE {name} histogram"]
    for label in labels:
        lines.append(f"{name}_sum{{{label}}} {7.25 + scrape}")
        for i, bound in enumerate([*map(float, bounds), "+Inf"]):
            lines.append(f'{name}_bucket{{le="{bound}",{label}}} {float(20 * i + scrape)}')
        lines.append(f"{name}_count{{{label}}} {float(20 * len(bounds) + scrape)}")
    return lines


def _lora(loras: Sequence[str], max_lora: int) -> list[str]:
    """An older series stands behind the one that is true now."""
    return _family(
        "vllm:lora_requests_info",
        "Running stats on lora requests.",
        "gauge",
        [
            (f'max_lora="{max_lora}",running_lora_adapters="{adapters}",waiting_lora_adapters=""', time_s)
            for adapters, time_s in ((",".join(loras), 1.7907001e9), ("old-lora", 1.7907e9))
        ],
    )


def _python_process(scrape: int) -> list[str]:
    lines = _family(
        "python_gc_objects_collected_total",
        "Objects collected during gc",
        "counter",
        [(f'generation="{generation}"', 12079) for generation in range(3)],
    )
    lines += _family(
        "python_info", "Python platform information", "gauge", [('implementation="CPython",version="3.12.9"', 1)]
    )
    return [
        *lines,
        "# HELP process_cpu_seconds_total Total user and system CPU time spent in seconds.",
        "# TYPE process_cpu_seconds_total counter",
        f"process_cpu_seconds_total {163.42 + scrape}",
    ]
