"""A host for proxy-wasm plugins: load a .wasm, or the same plugin natively, and play HTTP requests through it.

    async with Simulator("plugin.wasm", clusters={"llm": ["10.0.0.1:80", "10.0.0.2:80"]}) as sim:
        exchange = await sim.request("POST", "/v1/chat/completions", body=b"{}")
        assert exchange.status == 200
        await sim.finish()

`SteppedSimulator` is its synchronous sibling for unit tests; `host_sim.virtual` plays whole requests in virtual time.
"""

from .callouts import HttpCall, HttpResponse
from .clock import ManualScheduler, Pace
from .cluster import Endpoint
from .codec import RespError
from .connection import TcpConnection
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
from .gateway import Plugin
from .grpc_callouts import GrpcCall, ScriptedGrpc, SteppedGrpc
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
    "GrpcCall",
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
    "ManualScheduler",
    "ModelServer",
    "Pace",
    "Plugin",
    "Raw",
    "RespError",
    "ScriptedGrpc",
    "ScriptedRedis",
    "ScriptedRequest",
    "ScriptedResponse",
    "ScriptedUpstream",
    "ServerError",
    "Simulator",
    "SimulatorError",
    "SteppedGrpc",
    "SteppedRedis",
    "SteppedSimulator",
    "TcpConnection",
    "TcpRedis",
    "UpstreamFailed",
    "UsageError",
    "guest_factory",
]
