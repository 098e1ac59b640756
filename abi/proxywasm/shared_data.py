"""Shared data: bytes under a key, shared by all VMs of one vm_id on a gateway, with compare-and-swap."""

from collections.abc import Callable

from ._host import Text, host
from .errors import CasMismatch

MAX_CAS_ATTEMPTS = 16

# A non-zero number on a missing key succeeds, and on a key that another VM has made meanwhile it mismatches: the host
# counts up from 1, so that this number is never the key's own.
_MISSING_KEY_CAS = 0x7FFFFFFF

get: Callable[[Text], tuple[bytes, int] | None] = host.get_shared_data

compare_and_set: Callable[[Text, Text | bytearray, int], None] = host.set_shared_data
"""As `set(key, value, cas)`, but the host call itself."""


def set(key: Text, value: Text | bytearray, cas: int = 0) -> None:
    """Sets the value if the key still has the number `cas`; 0 sets it anyway. Raises errors.CasMismatch."""
    host.set_shared_data(key, value, cas)


def update(key: Text, change: Callable[[bytes | None], bytes], attempts: int = MAX_CAS_ATTEMPTS) -> bytes:
    """Replaces the value by change(value), which gets None for a missing key and must not have side effects.

    Returns the new value. Raises errors.CasMismatch when other VMs were faster `attempts` times.
    """
    while True:
        value, cas = host.get_shared_data(key) or (None, _MISSING_KEY_CAS)
        changed = change(value)
        try:
            host.set_shared_data(key, changed, cas)
        except CasMismatch:
            attempts -= 1
            if attempts <= 0:
                raise
        else:
            return changed
