"""The server: databases, connections with their AUTH and SELECT, and the commands that need more than one database."""

import time
from collections.abc import Callable

from ..codec import RespError, RespValue
from .commands import COMMANDS, SYNTAX, integer
from .scripts import Scripts
from .store import Store

DATABASES = 16
NOT_LOGGED_IN = "NOAUTH Authentication required."
WRONG_PASSWORD = "WRONGPASS invalid username-password pair or user is disabled."
NO_PASSWORD_SET = (
    "ERR AUTH <password> called without any password configured for the default user. "
    "Are you sure your configuration is correct?"
)


class MemoryRedis:
    """`now_ns` is the clock of TIME and of expiry, in nanoseconds since the Unix epoch.

    `password`: of the user `default`, the only one; "" for none.
    """

    def __init__(self, now_ns: Callable[[], int] = time.time_ns, password: str = "") -> None:
        self.databases = [Store(now_ns) for _ in range(DATABASES)]
        self.password = password.encode()
        self._store = self.databases[0]  # of the command that runs
        self.scripts = Scripts(self._run)

    def session(self) -> "Session":
        """One connection."""
        return Session(self)

    def execute(self, store: Store, command: list[bytes]) -> RespValue:
        """The reply; an error is a RespError, given back as a value."""
        self._store = store
        try:
            return self._run(command)
        except RespError as error:
            return error

    def _run(self, command: list[bytes]) -> RespValue:
        name = command[0].upper()
        fewest, function = COMMANDS.get(name) or _SERVER_COMMANDS.get(name) or (0, None)
        if function is None:
            raise RespError(f"ERR unknown command '{command[0].decode('utf-8', 'replace')}'")
        if len(command) - 1 < fewest:
            raise RespError(f"ERR wrong number of arguments for '{name.decode().lower()}' command")
        if name in COMMANDS:
            return COMMANDS[name][1](self._store, command[1:])
        return _SERVER_COMMANDS[name][1](self, command[1:])


class Session:
    """What one connection has: its database and whether it logged in."""

    def __init__(self, server: MemoryRedis) -> None:
        self._server = server
        self._store = server.databases[0]
        self._may = not server.password

    def execute(self, command: list[bytes]) -> RespValue:
        name = command[0].upper()
        if name == b"AUTH":
            return self._log_in(command[1:])
        if not self._may:
            return RespError(NOT_LOGGED_IN)
        if name == b"SELECT" and len(command) == 2:
            return self._select(command[1])
        return self._server.execute(self._store, command)

    def _log_in(self, arguments: list[bytes]) -> RespValue:
        if len(arguments) not in (1, 2):
            return RespError("ERR wrong number of arguments for 'auth' command") if not arguments else RespError(SYNTAX)
        password = self._server.password
        if not password and len(arguments) == 1:
            return RespError(NO_PASSWORD_SET)
        user = arguments[0] if len(arguments) == 2 else b"default"
        if user != b"default" or (password and arguments[-1] != password):
            return RespError(WRONG_PASSWORD)
        self._may = True
        return "OK"

    def _select(self, index: bytes) -> RespValue:
        try:
            number = integer(index)
        except RespError as error:
            return error
        if not 0 <= number < DATABASES:
            return RespError("ERR DB index is out of range")
        self._store = self._server.databases[number]
        return "OK"


def _flushall(server: MemoryRedis, arguments: list[bytes]) -> RespValue:
    for store in server.databases:
        store.clear()
    return "OK"


def _keys_and_arguments(arguments: list[bytes]) -> tuple[list[bytes], list[bytes]]:
    count = integer(arguments[1])
    if count > len(arguments) - 2:
        raise RespError("ERR Number of keys can't be greater than number of args")
    if count < 0:
        raise RespError("ERR Number of keys can't be negative")
    return arguments[2 : 2 + count], arguments[2 + count :]


def _eval(server: MemoryRedis, arguments: list[bytes]) -> RespValue:
    return server.scripts.evaluate(arguments[0], *_keys_and_arguments(arguments))


def _evalsha(server: MemoryRedis, arguments: list[bytes]) -> RespValue:
    return server.scripts.evaluate_by_sha(arguments[0], *_keys_and_arguments(arguments))


def _script(server: MemoryRedis, arguments: list[bytes]) -> RespValue:
    """LOAD, EXISTS and FLUSH."""
    action = arguments[0].upper()
    if action == b"LOAD" and len(arguments) == 2:
        return server.scripts.load(arguments[1])
    if action == b"EXISTS" and len(arguments) > 1:
        return [int(server.scripts.knows(sha)) for sha in arguments[1:]]
    if action == b"FLUSH":
        server.scripts.flush()
        return "OK"
    raise RespError(f"ERR unknown subcommand '{arguments[0].decode('utf-8', 'replace')}'. Try SCRIPT HELP.")


_SERVER_COMMANDS: dict[bytes, tuple[int, Callable[[MemoryRedis, list[bytes]], RespValue]]] = {
    b"FLUSHALL": (0, _flushall),
    b"EVAL": (2, _eval),
    b"EVALSHA": (2, _evalsha),
    b"SCRIPT": (1, _script),
}
