"""Calls that wait for their reply: {call id: call}, one such table per kind of call.

A reply goes to the callback of the context that made the call. When that context is gone, the reply is dropped and
counted; nothing is searched when a context is deleted. So entries of deleted contexts stay until their reply comes;
when a table is full they are dropped, and if it is still full no further call is sent.
"""

from collections.abc import Callable
from typing import TypeVar

from .contexts import Context
from .errors import TooManyPendingCalls
from .metrics import Counter

MAX_PENDING_CALLS = 16_384

dropped_replies = Counter("proxywasm_dropped_replies")

Call = TypeVar("Call")


def make_room(pending: dict[int, Call], context_of: Callable[[Call], Context]) -> None:
    """Called when `pending` is full. Raises TooManyPendingCalls if every entry still has its context."""
    for call_id in [call_id for call_id, call in pending.items() if context_of(call).is_deleted]:
        del pending[call_id]
    if len(pending) >= MAX_PENDING_CALLS:
        raise TooManyPendingCalls(f"{len(pending)} calls are waiting for their replies")
