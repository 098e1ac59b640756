"""The request that is measured: a short chat completion over three endpoints, every reply given by hand."""

from host_sim import Exchange, SteppedRedis, SteppedSimulator

ENDPOINTS = ["10.0.0.1:8000", "10.0.0.2:8000", "10.0.0.3:8000"]
CLUSTER = "outbound|80||llm.static"
REDIS = "outbound|6379||redis.static"
HEADERS = {
    ":method": "POST",
    ":path": "/v1/chat/completions",
    ":authority": "llm.example",
    "content-type": "application/json",
    "x-request-id": "6ba7b810-9dad-11d1-80b4-00c04fd430c8",
}
HIGRESS_CONFIG = {
    "lb_policy": "global_least_request",
    "lb_config": {"serviceFQDN": "redis.static", "servicePort": 6379},
}
ENVOY_CONFIG = {"lb_policy": "global_least_request", "endpoints": ENDPOINTS}


def play(sim: SteppedSimulator, redis: SteppedRedis | None = None) -> int:
    """Plays one request and returns the instructions of all its callbacks, those for the release included.

    Raises RuntimeError if the filter did not route it.
    """
    sim.vm.trace.callbacks.clear()
    stream = sim.open_stream()
    stream.request_headers(HEADERS, end_of_stream=False)
    if redis is not None:
        sim.deliver_redis([1, 1])
    stream.request_body(b"{}", end_of_stream=True)
    stream.response_headers({":status": "200"}, end_of_stream=False)
    stream.response_body(b"data", end_of_stream=True)
    if redis is not None:
        sim.deliver_redis(1)
    exchange = sim.observe(stream)
    _check(exchange)
    of_root = sum(record.instructions or 0 for record in sim.vm.trace.callbacks)
    return sum(exchange.instructions.values()) + of_root


def _check(exchange: Exchange) -> None:
    if exchange.status != 200 or exchange.endpoint not in ENDPOINTS or not exchange.overridden:
        raise RuntimeError(f"the request was not routed, its cost means nothing:\n{exchange}")
