"""A host for proxy-wasm plugins: load a .wasm, or the same plugin natively, and play HTTP requests through it.

    async with Simulator("plugin.wasm", clusters={"llm": ["10.0.0.1:80", "10.0.0.2:80"]}) as sim:
        exchange = await sim.request("POST", "/v1/chat/completions", body=b"{}")
        assert exchange.status == 200
        await sim.finish()

`SteppedSimulator` is its synchronous sibling for unit tests.
"""

from .callouts import HttpCall, HttpResponse
from .cluster import Endpoint
from .codec import RespError
from .embedded_redis import EmbeddedRedis
from .errors import (
    GuestTrap,
    HostCallError,
    LeftoverError,
    LoadError,
    ServerError,
    SimulatorError,
    UsageError,
)
from .exchange import Exchange
from .local_reply import LocalReply
from .model_server import ModelServer
from .records import CallbackRecord, HostCallRecord, LogRecord
from .redis_backend import Fault, Raw, ScriptedRedis, SteppedRedis, TcpRedis
from .setup import guest_factory
from .simulator import Simulator
from .stepped import SteppedSimulator
from .stream import HttpStream
from .upstream import HttpUpstream, ScriptedRequest, ScriptedResponse, ScriptedUpstream, UpstreamFailed

__all__ = [
    "CallbackRecord",
    "EmbeddedRedis",
    "Endpoint",
    "Exchange",
    "Fault",
    "GuestTrap",
    "HostCallError",
    "HostCallRecord",
    "HttpCall",
    "HttpResponse",
    "HttpStream",
    "HttpUpstream",
    "LeftoverError",
    "LoadError",
    "LocalReply",
    "LogRecord",
    "ModelServer",
    "Raw",
    "RespError",
    "ScriptedRedis",
    "ScriptedRequest",
    "ScriptedResponse",
    "ScriptedUpstream",
    "ServerError",
    "Simulator",
    "SimulatorError",
    "SteppedRedis",
    "SteppedSimulator",
    "TcpRedis",
    "UpstreamFailed",
    "UsageError",
    "guest_factory",
]
