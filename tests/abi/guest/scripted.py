"""A guest that does what the test outside says: every callback logs its name and arguments, then runs a script.

The script is Python source that the host gives for the property `script`; what it leaves in `result` is returned to the
host. `say` logs at INFO. An exception that reaches the dispatcher is logged at ERROR.
"""

import gc
import json
import sys
from collections.abc import Callable
from typing import Any

import _proxywasm as p  # type: ignore[import-not-found]
from settings import EXPORTS  # type: ignore[import-not-found]

INFO, ERROR = 2, 4
ALL = 0xFFFF_FFFF


def say(text: str) -> None:
    p.log(INFO, text)


class HostError(Exception):
    pass


class ReplyError(Exception):
    pass


handler: dict[str, bool] = {"raises": False}
namespace: dict[str, Any] = {"p": p, "say": say, "gc": gc, "handler": handler, "kept": {}}


def run(name: str, arguments: tuple[object, ...]) -> Any:
    say(f"{name}{arguments}")
    namespace["arguments"] = arguments
    exec(p.get_property("script"), namespace)
    return namespace.pop("result", None)


class Context:
    def __getattr__(self, name: str) -> Callable[..., Any]:
        if not name.startswith(("on_", "validate_")):
            raise AttributeError(name)
        return lambda *arguments: run(name, arguments)


class Dispatcher(Context):
    def on_context_create(self, context_id: int, parent_id: int) -> None:
        p.attach(context_id, Context(), ALL)
        run("on_context_create", (context_id, parent_id))

    def on_exception(self, callback: str, context_id: int, error: BaseException) -> None:
        p.log(ERROR, f"{callback} {context_id} {error!r}")
        if handler["raises"]:
            raise error

    def host_error(self, function: str, status: int) -> Any:
        return handler.get("host_error") or HostError(function, status)

    def reply_error(self, message: str) -> Exception:
        return ReplyError(message)


p.set_dispatcher(Dispatcher())
p.set_manifest(json.dumps({"exports": EXPORTS, "modules": sorted(sys.modules)}).encode())
