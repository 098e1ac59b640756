"""The driver of endpoint_metrics with a configuration of its own, so that it runs without the whole filter."""

import json

from ai_load_balancer.drivers.endpoint_metrics import EndpointMetricsDriver, EndpointMetricsRequest
from ai_load_balancer.policies.endpoint_metrics import EndpointMetrics
from proxywasm import RootContext


class EndpointPolicy(RootContext):
    """The configuration is the arguments of EndpointMetrics."""

    further_contexts = (EndpointMetricsRequest,)
    plugin_id = ""

    def on_configure(self, configuration_size: int) -> bool | None:
        policy = EndpointMetrics(**json.loads(self.plugin_configuration() or b"{}"))
        self.http_context = EndpointMetricsDriver(policy).context_class
        return True
