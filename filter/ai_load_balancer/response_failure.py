"""Whether a response is a failure of the endpoint that it is said to come from."""

from proxywasm import HttpContext, Property

from .policies.handicaps import is_failure

_code_details = Property("response", "code_details").get

_OF_ENDPOINTS = (b"via_upstream", b"upstream_")  # the rest is said by other filters, or by the proxy about the request


def has_failed(context: HttpContext) -> bool:
    """In on_response_headers. A proxy that does not tell the details is believed to have asked the endpoint."""
    status = context.response_headers.get(":status")
    if status == "200" or not status or not is_failure(status):
        return False
    details = _code_details()
    return not details or details.startswith(_OF_ENDPOINTS)
