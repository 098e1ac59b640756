"""A value of shared data, as policies read and edit it."""

from typing import TypeAlias

Value: TypeAlias = bytes | bytearray
"""A change is made in a copy, a bytearray, which can be written as it is."""
