"""A filter of 20 lines: no API key, no service; the key's owner goes upstream in the key's place."""

import json

from proxywasm import Counter, HttpContext, RootContext, send_local_response

refused = Counter("api_key_refused")


class Request(HttpContext):
    def on_request_headers(self, num_headers: int, end_of_stream: bool) -> int | None:
        assert isinstance(self.root, ApiKey)
        owner = self.root.owners.get(self.request_headers.get("x-api-key") or "")
        if owner is None:
            refused.increment(1)
            send_local_response(401, "an API key is required", details="no_api_key")
            return None
        self.request_headers.remove("x-api-key")
        self.request_headers.set("x-owner", owner)
        return None


class ApiKey(RootContext):
    http_context = Request

    def on_configure(self, configuration_size: int) -> bool | None:
        self.owners: dict[str, str] = json.loads(self.plugin_configuration())
        return True
