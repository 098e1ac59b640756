"""A stepped gateway with global_least_request and Redis: every reply is written down by the test."""

from proxywasm.enums import LogLevel

from host_sim import SteppedRedis, SteppedSimulator

REDIS = "outbound|6379||redis.static"
CLUSTER = "outbound|80||llm.dns"
ENDPOINTS = ["10.0.0.1:80", "10.0.0.2:80", "10.0.0.3:80"]
HEADERS = {":method": "POST", ":path": "/v1/chat/completions", ":authority": "llm", "x-request-id": "id-7"}


class Gateway:
    """The stepped simulator with the filter in it."""

    def __init__(self, guest, endpoints=ENDPOINTS, redis=None, max_request_count=0, redis_budget_ms=200, **options):
        self.redis = SteppedRedis()
        lb_config = {
            "serviceFQDN": "redis.static",
            "servicePort": 6379,
            "maxRequestCount": max_request_count,
            "redis_budget_ms": redis_budget_ms,
        }
        self.config = {"_plugin_id_": "lb-1", "lb_policy": "global_least_request", "lb_config": lb_config}
        self.sim = SteppedSimulator(
            guest,
            "higress",
            self.config,
            clusters={CLUSTER: endpoints},
            redis={REDIS: self.redis} if redis is None else redis,
            **options,
        )

    def send(self, end_of_stream=True, headers=HEADERS):
        stream = self.sim.open_stream()
        stream.request_headers(headers, end_of_stream)
        return stream

    def respond(self, stream):
        stream.response_headers({":status": "200"}, end_of_stream=True)

    def reply(self, value):
        """Answers the oldest command and returns it."""
        command = self.commands()[0]
        self.sim.deliver_redis(value)
        return command

    def commands(self):
        return self.sim.redis_commands()

    def release(self):
        """Answers a command that must be a release, and returns the lease."""
        command = self.reply(1)
        assert command[0] == b"EVALSHA"
        assert len(command) == 7, command
        return command[-1]

    def counter(self, rung, outcome):
        name = f"ailb_decisions_total.policy.global_least_request.rung.{rung}.outcome.{outcome}"
        return self.counters().get(name, 0)

    def fallbacks(self, reason):
        return self.counters().get(f"ailb_fallbacks_total.policy.global_least_request.rung.redis.reason.{reason}", 0)

    def counters(self):
        return self.sim.gateway.shared.metrics.values()

    def warnings(self):
        return [record.message for record in self.sim.gateway.logs if record.level >= LogLevel.WARN]

    def finish(self):
        assert self.commands() == []
        assert "proxywasm_exceptions" not in self.counters()
        self.sim.finish()


def lease_of(acquire):
    return acquire[11]
