"""Python's logging, stdout and stderr on top of the host's log.

The gate is a copy of the host's log level, so that a message below it costs no host call; `refresh_level` renews it.
"""

import io
import logging
import sys

from ._host import host
from .enums import LogLevel
from .errors import HostError

MAX_MESSAGE_CHARACTERS = 16 * 1024

_TRACE = 5
_PYTHON_LEVEL = {
    LogLevel.TRACE: _TRACE,
    LogLevel.DEBUG: logging.DEBUG,
    LogLevel.INFO: logging.INFO,
    LogLevel.WARN: logging.WARNING,
    LogLevel.ERROR: logging.ERROR,
    LogLevel.CRITICAL: logging.CRITICAL,
}
_OFF = logging.CRITICAL + 10  # Envoy's level "off" is one above critical

_gated: list[logging.Logger] = []
_level: int | None = None


def bounded(text: str) -> str:
    """The text, or its beginning and its end if it is longer than MAX_MESSAGE_CHARACTERS."""
    left_out = len(text) - MAX_MESSAGE_CHARACTERS
    if left_out <= 0:
        return text
    half = MAX_MESSAGE_CHARACTERS // 2
    return f"{text[:half]}\n... {left_out} characters left out ...\n{text[-half:]}"


def _host_level(python_level: int) -> LogLevel:
    for level in reversed(LogLevel):
        if python_level >= _PYTHON_LEVEL[level]:
            return level
    return LogLevel.TRACE


class HostLogHandler(logging.Handler):
    """Hands records to the host, one log call each."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            host.log(int(_host_level(record.levelno)), bounded(self.format(record)))
        except Exception:
            self.handleError(record)


class LineWriter(io.TextIOBase):
    """A text stream whose every line is one log record; a line ends at a newline or at its bound, not at a flush."""

    def __init__(self, level: LogLevel) -> None:
        self._level = int(level)
        self._line = ""

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        *lines, self._line = (self._line + text).split("\n")
        while len(self._line) > MAX_MESSAGE_CHARACTERS:
            lines.append(self._line[:MAX_MESSAGE_CHARACTERS])
            self._line = self._line[MAX_MESSAGE_CHARACTERS:]
        for line in lines:
            host.log(self._level, bounded(line))
        return len(text)


def install(package: str) -> None:
    """Sends logging to the host; in the wasm guest also stdout (INFO) and stderr (ERROR).

    In the guest the root logger is taken. In plain CPython the process is not ours alone: there only the loggers of
    `package` and of this SDK are taken, and stdout and stderr stay with the terminal, for the debugger.
    """
    in_guest = sys.platform == "wasi"
    loggers = [logging.getLogger()] if in_guest else [logging.getLogger(name) for name in {package, __package__ or ""}]
    handler = HostLogHandler()
    for logger in loggers:
        logger.handlers[:] = [handler]
    _gated[:] = loggers
    if in_guest:
        logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
        sys.stdout = LineWriter(LogLevel.INFO)
        sys.stderr = LineWriter(LogLevel.ERROR)


def refresh_level() -> None:
    """Takes over the host's log level; INFO if the host does not tell it."""
    global _level
    try:
        level = host.get_log_level()
    except HostError:
        level = int(LogLevel.INFO)
    if level == _level:
        return
    _level = level
    for logger in _gated:
        logger.setLevel(_PYTHON_LEVEL[LogLevel(level)] if level in _PYTHON_LEVEL else _OFF)
