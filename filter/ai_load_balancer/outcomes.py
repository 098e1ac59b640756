"""How a request's decision ended, counted through the proxy."""

from proxywasm import Counter


def _counter(rung: str, outcome: str) -> Counter:
    return Counter(f"ailb_decisions_total.policy.global_least_request.rung.{rung}.outcome.{outcome}")


ROUTED_BY_REDIS = _counter("redis", "routed")
REJECTED_BY_REDIS = _counter("redis", "rejected")
CLIENT_GONE = _counter("redis", "client_gone")  # before the reply came
ROUTED_LOCALLY = _counter("local", "routed")
REJECTED_LOCALLY = _counter("local", "rejected")

# Nothing was chosen: the request goes on, on the proxy's own balancing.
NO_ENDPOINT = _counter("proxy", "no_healthy_endpoint")
NO_ROUTE = _counter("proxy", "no_route")
REDIS_UNREACHABLE = _counter("proxy", "redis_unreachable")
REDIS_ERROR = _counter("proxy", "redis_error")
OVERRIDE_REFUSED = _counter("proxy", "override_refused")
CONTENDED = _counter("proxy", "shared_data_contended")
HOST_ERROR = _counter("proxy", "host_error")
