"""What can go wrong between a filter and its host, as types.

Absence is not an error: getters return None for it. Everything else that a host refuses arrives here.
"""

from .enums import Status


class ProxyWasmError(Exception):
    """The base of all errors of this package."""


class HostError(ProxyWasmError):
    """A host call returned a status other than OK.

    `function` is the ABI name of the call, `status` the number that the host returned.
    """

    def __init__(self, function: str, status: int) -> None:
        super().__init__(function, status)
        self.function = function
        self.status = status

    def __str__(self) -> str:
        try:
            name = Status(self.status).name
        except ValueError:
            name = "an unknown status"
        return f"{self.function}: the host answered {name} ({self.status})"


class NotFound(HostError):
    pass


class BadArgument(HostError):
    pass


class SerializationFailure(HostError):
    pass


class ParseFailure(HostError):
    pass


class BadExpression(HostError):
    pass


class InvalidMemoryAccess(HostError):
    pass


class Empty(HostError):
    pass


class CasMismatch(HostError):
    pass


class ResultMismatch(HostError):
    pass


class InternalFailure(HostError):
    pass


class BrokenConnection(HostError):
    pass


class Unimplemented(HostError):
    """The host knows the call but does not do it, or the target has no such call at all."""


_BY_STATUS: dict[int, type[HostError]] = {
    Status.NOT_FOUND: NotFound,
    Status.BAD_ARGUMENT: BadArgument,
    Status.SERIALIZATION_FAILURE: SerializationFailure,
    Status.PARSE_FAILURE: ParseFailure,
    Status.BAD_EXPRESSION: BadExpression,
    Status.INVALID_MEMORY_ACCESS: InvalidMemoryAccess,
    Status.EMPTY: Empty,
    Status.CAS_MISMATCH: CasMismatch,
    Status.RESULT_MISMATCH: ResultMismatch,
    Status.INTERNAL_FAILURE: InternalFailure,
    Status.BROKEN_CONNECTION: BrokenConnection,
    Status.UNIMPLEMENTED: Unimplemented,
}


def host_error(function: str, status: int) -> HostError:
    """The typed error of a status; an unknown status is a plain HostError."""
    return _BY_STATUS.get(status, HostError)(function, status)


class TooManyPendingCalls(ProxyWasmError):
    """A callout was not sent: as many as the bound allows are waiting for their replies."""


class HttpCallFailed(ProxyWasmError):
    """No response came to an HTTP callout; `str()` is what the host says about it."""


class GrpcError(ProxyWasmError):
    """A gRPC call ended without a message. `status` is the gRPC status code."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(status, message)
        self.status = status
        self.message = message

    def __str__(self) -> str:
        return f"gRPC status {self.status}: {self.message}"


class RedisError(ProxyWasmError):
    """A Redis call did not yield a value."""


class RedisUnreachable(RedisError):
    """No reply: the host reports a connection failure or a timeout."""


class RedisReplyError(RedisError):
    """Redis answered with an error reply; `str()` is its text."""


class RedisProtocolError(RedisError, ValueError):
    """The reply is not RESP."""
