"""Lua scripts as Redis runs them: Lua 5.1, KEYS and ARGV, redis.call and redis.pcall, replies converted both ways.

Of the libraries only Lua's own base, string, table and math are there; cjson, cmsgpack, struct and bit are not.
"""

import hashlib
from collections.abc import Callable
from typing import Any

from ..codec import RespError, RespValue

try:
    from lupa import lua51  # type: ignore[import-untyped]
except ImportError as error:
    raise ImportError("scripts need Lua: install the Python package lupa, or the extra embedded-redis") from error

NO_SCRIPT = "NOSCRIPT No matching script. Please use EVAL."
SCRIPTS_MAX = 1024  # compiled and kept; Redis keeps them all
RESULT_DEPTH_MAX = 32

# Scripts see a table of globals of their own, which is closed as in Redis. Errors are tables {err = text} and never
# leave as Lua errors.
_PRELUDE = rb"""
local call_host = ...
local redis = {LOG_DEBUG = 0, LOG_VERBOSE = 1, LOG_NOTICE = 2, LOG_WARNING = 3, pcall = call_host}
function redis.call(...)
  local reply = call_host(...)
  if type(reply) == 'table' and reply.err then error(reply) end
  return reply
end
function redis.error_reply(text) return {err = text} end
function redis.status_reply(text) return {ok = text} end
function redis.log() end

local visible = {
  redis = redis, string = string, table = table, math = math, assert = assert, error = error, ipairs = ipairs,
  getmetatable = getmetatable, next = next, pairs = pairs, pcall = pcall, rawequal = rawequal, rawget = rawget,
  rawset = rawset, select = select, setmetatable = setmetatable, tonumber = tonumber, tostring = tostring, type = type,
  unpack = unpack, xpcall = xpcall, _VERSION = _VERSION,
}
setmetatable(visible, {
  __newindex = function()
    error({err = 'ERR Attempt to modify a readonly table'})
  end,
  __index = function(_, name)
    error({err = "ERR Script attempted to access nonexistent global variable '" .. tostring(name) .. "'"})
  end,
})

local function compile(source)
  local script, problem = loadstring(source, '@user_script')
  if not script then return {err = 'ERR Error compiling script (new function): ' .. problem} end
  return setfenv(script, visible)
end

local function run(script, sha, keys, arguments)
  rawset(visible, 'KEYS', keys)
  rawset(visible, 'ARGV', arguments)
  local ended, result = pcall(script)
  if ended then return result end
  if type(result) == 'table' and result.err then return {err = result.err .. ' script: ' .. sha} end
  return {err = 'ERR ' .. tostring(result) .. ' script: ' .. sha}
end

return {compile, run}
"""


class Scripts:
    """`call` runs a command on behalf of the script that runs; an error is a RespError, given back as a value."""

    def __init__(self, call: Callable[[list[bytes]], RespValue]) -> None:
        self._call = call
        self._lua = lua51.LuaRuntime(encoding=None, register_eval=False, register_builtins=False)
        start = self._lua.eval(b"function(source, ...) return loadstring(source, '@prelude')(...) end")
        functions = start(_PRELUDE, self._call_from_lua)
        self._compile, self._run = functions[1], functions[2]
        self._compiled: dict[bytes, Any] = {}

    def evaluate(self, source: bytes, keys: list[bytes], arguments: list[bytes]) -> RespValue:
        sha = self.load(source)
        return self.evaluate_by_sha(sha, keys, arguments)

    def evaluate_by_sha(self, sha: bytes, keys: list[bytes], arguments: list[bytes]) -> RespValue:
        script = self._compiled.get(sha.lower())
        if script is None:
            raise RespError(NO_SCRIPT)
        table = self._lua.table_from
        return self._reply(self._run(script, sha, table(keys), table(arguments)), 0)

    def load(self, source: bytes) -> bytes:
        """The SHA-1 of the script."""
        sha = hashlib.sha1(source, usedforsecurity=False).hexdigest().encode()
        if sha not in self._compiled:
            script = self._compile(source)
            if lua51.lua_type(script) == "table":
                raise RespError(script[b"err"].decode("utf-8", "replace"))
            if len(self._compiled) >= SCRIPTS_MAX:
                self._compiled.clear()
            self._compiled[sha] = script
        return sha

    def knows(self, sha: bytes) -> bool:
        return sha.lower() in self._compiled

    def flush(self) -> None:
        self._compiled.clear()

    def _call_from_lua(self, *arguments: Any) -> Any:
        if not arguments:
            return self._value(RespError("ERR Please specify at least one argument for this redis.call()"))
        command: list[bytes] = []
        for argument in arguments:
            if type(argument) is bytes:
                command.append(argument)
            elif type(argument) is int or type(argument) is float:
                command.append(b"%d" % argument if argument == argument // 1 else b"%.17g" % argument)
            else:
                text = "ERR Lua redis lib command arguments must be strings or integers"
                return self._value(RespError(text))
        try:
            return self._value(self._call(command))
        except RespError as error:
            return self._value(error)

    def _value(self, reply: RespValue) -> Any:
        """A reply as the script sees it: nil is false, a status is {ok = text}, an error {err = text}."""
        if type(reply) is bytes or type(reply) is int:
            return reply
        if reply is None:
            return False
        if isinstance(reply, list):
            return self._lua.table_from([self._value(item) for item in reply])
        kind = b"err" if isinstance(reply, RespError) else b"ok"
        return self._lua.table_from({kind: str(reply).encode()})

    def _reply(self, value: Any, depth: int) -> RespValue:
        """What a script returns as a reply: numbers are cut to integers, a table ends at its first nil."""
        if type(value) is bytes:
            return value
        if value is None or value is False:
            return None
        if value is True:
            return 1
        if isinstance(value, int | float):
            return int(value)
        if lua51.lua_type(value) != "table":
            return None
        if value[b"err"] is not None:
            return RespError(value[b"err"].decode("utf-8", "replace"))
        if value[b"ok"] is not None:
            text: str = value[b"ok"].decode("utf-8", "replace")
            return text
        if depth >= RESULT_DEPTH_MAX:
            return RespError("ERR reached lua stack limit")
        items: list[RespValue] = []
        while (item := value[len(items) + 1]) is not None:
            items.append(self._reply(item, depth + 1))
        return items
