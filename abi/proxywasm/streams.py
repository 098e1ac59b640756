"""What can be done with the current stream: let it go on, close it, answer it here."""

from collections.abc import Callable
from functools import partial

from ._host import Pairs, Text, host
from .enums import GrpcStatus, StreamType

continue_request: Callable[[], None] = partial(host.continue_stream, int(StreamType.HTTP_REQUEST))
continue_response: Callable[[], None] = partial(host.continue_stream, int(StreamType.HTTP_RESPONSE))
continue_downstream: Callable[[], None] = partial(host.continue_stream, int(StreamType.DOWNSTREAM))
continue_upstream: Callable[[], None] = partial(host.continue_stream, int(StreamType.UPSTREAM))


def close(stream: StreamType) -> None:
    """Resets an HTTP stream or closes a connection, after the callback has returned."""
    host.close_stream(int(stream))


def send_local_response(
    status_code: int,
    body: Text = b"",
    headers: Pairs = (),
    details: Text = b"",
    grpc_status: int = GrpcStatus.NONE,
) -> None:
    """Answers the request here. It takes effect after the callback; a second one is ignored.

    `details` goes to the proxy's access log.
    """
    host.send_local_response(status_code, details, body, headers, int(grpc_status))
