"""A whole filter: requests need an API key, and responses tell who let them in."""

import json
import logging

from proxywasm import HttpContext, RootContext, send_local_response

logger = logging.getLogger(__name__)


class Greeting(HttpContext):
    root: "GreetingPlugin"
    user = ""

    def on_request_headers(self, num_headers: int, end_of_stream: bool) -> int | None:
        self.user = self.root.users.get(self.request_headers.get("x-api-key") or "", "")
        if not self.user:
            send_local_response(401, "who are you?\n")
        self.request_headers.remove("x-api-key")
        return None

    def on_response_headers(self, num_headers: int, end_of_stream: bool) -> int | None:
        self.response_headers.set("x-served-for", self.user)
        return None


class GreetingPlugin(RootContext):
    http_context = Greeting
    users: dict[str, str] = {}  # noqa: RUF012

    def on_configure(self, configuration_size: int) -> bool:
        self.users = json.loads(self.plugin_configuration())["users"]
        logger.info("%d users", len(self.users))
        return True
