"""A Redis in this process: the commands that filters use and Lua scripts, with a clock that is given.

It stands in for a real server where one would be too slow or its clock in the way. The tests run every command on both
and compare the replies.
"""

from .server import MemoryRedis, Session

__all__ = ["MemoryRedis", "Session"]
