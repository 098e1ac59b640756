"""What only Higress offers. On other targets each call raises errors.Unimplemented; see capabilities."""

from collections.abc import Callable

from ._host import Text, host

upstream_hosts: Callable[[], bytes] = host.get_upstream_hosts
"""upstream_hosts() -> the endpoints of the request's cluster, serialised; equal bytes are equal endpoints."""

decode_upstream_hosts: Callable[[bytes], list[tuple[str, str]]] = host.decode_pairs
"""decode_upstream_hosts(bytes) -> [("ip:port", JSON text with `health_status` and perhaps `metrics`)].

Raises ValueError for bytes that are not a serialised map.
"""

set_override_host: Callable[[Text], None] = host.set_upstream_override_host
"""set_override_host("ip:port"): the request goes to this endpoint, spelt as the host lists it, and to no other.

It must be called before the request's headers continue.
"""


def inject_encoded_data(body: Text, end_of_stream: bool) -> None:
    """Adds data to the response, behind this filter."""
    host.inject_encoded_data_to_filter_chain(body, end_of_stream)
