"""The hosts of the suite. One Envoy process serves all listeners: V8 compiles the plugin once."""

import asyncio
import json
from collections import deque
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from proxywasm.enums import LogLevel

from host_sim import ScriptedRequest, ScriptedResponse, ScriptedUpstream, Simulator, UpstreamFailed
from host_sim.gateway import FailurePolicy
from host_sim.headers import to_str
from host_sim.testing.envoy_config import ROUTE_NAME, Cluster, Listener, Plugin, bootstrap
from host_sim.testing.envoy_host import EnvoyHost
from host_sim.testing.envoy_process import Envoy, run_envoy
from host_sim.testing.hosts import HOST_KINDS, Host, HostKind, Loop, SimulatedHost
from host_sim.testing.script_server import RECEIVED_MAX, Received, ScriptServer
from tests.conformance.probe import Probe
from tests.conformance.table import document
from tests.conformance.trapping import POLICIES, trapping_module
from tests.envoy.binaries import NEWEST, require_envoy
from tests.plugin_builds import PLUGINS, built_plugin

PROBE = "conformance_probe:Probe"
CONFIGURATION, VM_CONFIGURATION, NAME = "the configuration", "the vm configuration", "conformance"
DOWN = "127.0.0.1:1"  # nobody listens there


async def answer(request: ScriptedRequest) -> ScriptedResponse:
    """The upstream: what it answers is said by the request."""
    if request.address == DOWN:
        raise UpstreamFailed("connection refused")
    fields = json.loads(to_str(request.headers.get(b"x-response") or b"{}"))
    if fields.pop("hangs", False):
        await asyncio.Event().wait()
    if fields.pop("refuses", False):
        raise UpstreamFailed("as the request asks")
    chunks = [chunk.encode() for chunk in fields.pop("chunks", ["hello"])]
    return ScriptedResponse(chunks=chunks, **fields)


def plugin(name: str, **options: object) -> Plugin:
    return Plugin(
        built_plugin(PROBE, "envoy"),
        CONFIGURATION,
        name=NAME,
        vm_id=name,
        vm_configuration=VM_CONFIGURATION,
        **options,  # type: ignore[arg-type]
    )


LISTENERS = {"plain": False, "stopping": True}  # name: allow_on_headers_stop_iteration


@pytest.fixture(scope="session")
def loop() -> Iterator[Loop]:
    loop = Loop()
    yield loop
    loop.close()


@pytest.fixture(scope="session")
def envoy(loop: Loop, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Envoy, "deque[Received]"]]:
    received: deque[Received] = deque(maxlen=RECEIVED_MAX)
    with ExitStack() as stack:
        server = ScriptServer(answer, received)
        loop.run(server.__aenter__())
        stack.callback(lambda: loop.run(server.__aexit__(None, None, None)))
        listeners = [
            Listener(name, [plugin(name, allow_on_headers_stop_iteration=allow)]) for name, allow in LISTENERS.items()
        ]
        clusters = [Cluster("llm", [server.address]), Cluster("down", [DOWN])]
        directory = tmp_path_factory.mktemp("conformance")
        listeners += [
            Listener(policy, [Plugin(trapping_module(directory), name=policy, failure_policy=policy)])
            for policy in POLICIES
        ]
        config = bootstrap(clusters, listeners=listeners)
        envoy = stack.enter_context(run_envoy(require_envoy(NEWEST), config, directory, wasm_log_level="debug"))
        yield envoy, received


@pytest.fixture(scope="session")
def make_probe(request: pytest.FixtureRequest) -> Iterator[Callable[[HostKind, str], Probe]]:
    """(kind, listener) -> the probe; each is made once."""
    made: dict[tuple[HostKind, str], Probe] = {}

    def make(kind: HostKind, listener: str) -> Probe:
        if (kind, listener) not in made:
            made[kind, listener] = Probe(on_envoy(listener) if kind == "envoy" else simulated(kind, listener))
        return made[kind, listener]

    def on_envoy(listener: str) -> EnvoyHost:
        envoy, received = request.getfixturevalue("envoy")
        return EnvoyHost(envoy, listener, received, request.getfixturevalue("loop"), {})

    yield make
    for probe in made.values():
        probe.host.close()


def simulated(kind: HostKind, listener: str) -> SimulatedHost:
    simulator = Simulator(
        PROBE if kind == "native" else built_plugin(PROBE, "envoy"),
        target="envoy",
        plugin_config=CONFIGURATION,
        plugin_options={
            "name": NAME,
            "root_id": NAME,
            "vm_id": listener,
            "vm_configuration": VM_CONFIGURATION.encode(),
        },
        clusters={"llm": ["10.0.0.1:80"], "down": [DOWN]},
        upstream=ScriptedUpstream(answer),
        route_name=ROUTE_NAME,
        log_level=LogLevel.DEBUG,
        allow_on_headers_stop_iteration=LISTENERS[listener],
    )
    return SimulatedHost(kind, simulator)


@pytest.fixture(scope="session", autouse=True)
def _plugins_on_the_path() -> Iterator[None]:
    """The native guest imports the plugin by name."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(PLUGINS))
        yield


@pytest.fixture
def failing(
    kind: HostKind, request: pytest.FixtureRequest, tmp_path: Path
) -> Iterator[Callable[[FailurePolicy], Host]]:
    """failure policy -> a host whose plugin traps at a request with the header x-trap."""
    with ExitStack() as stack:

        def start(policy: FailurePolicy) -> Host:
            if kind == "envoy":
                envoy, received = request.getfixturevalue("envoy")
                return EnvoyHost(envoy, policy, received, request.getfixturevalue("loop"), {})
            simulator = Simulator(
                trapping_module(tmp_path),
                target="envoy",
                clusters={"llm": ["10.0.0.1:80"]},
                plugin_options={"failure_policy": policy},
            )
            host = SimulatedHost(kind, simulator)
            stack.callback(host.close)
            return host

        yield start


@pytest.fixture(params=HOST_KINDS)
def kind(request: pytest.FixtureRequest) -> HostKind:
    """A test marked `differs(reason)` must fail in the simulator, and pass on Envoy."""
    kind: HostKind = request.param
    differs = request.node.get_closest_marker("differs")
    if differs is not None and kind != "envoy":
        request.applymarker(pytest.mark.xfail(reason=differs.args[0], strict=True))
    return kind


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "differs(reason): the simulator is known to differ from Envoy here, and why")


@pytest.fixture
def probe(make_probe: Callable[[HostKind, str], Probe], kind: HostKind) -> Probe:
    return make_probe(kind, "plain")


@pytest.fixture
def stopping_probe(make_probe: Callable[[HostKind, str], Probe], kind: HostKind) -> Probe:
    """With stock Envoy's allow_on_headers_stop_iteration."""
    return make_probe(kind, "stopping")


_OUTCOMES = pytest.StashKey[dict[str, dict[str, str]]]()  # test -> kind -> how it ended


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--conformance-table", metavar="FILE", help="write the table of the conformance suite to FILE")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: "pytest.CallInfo[None]"
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Collects how each behaviour ended on each host; a parameter that fails is a behaviour that fails."""
    report = yield
    kind = getattr(item, "callspec", None) and item.callspec.params.get("kind")  # type: ignore[attr-defined]
    if kind is not None and (report.when == "call" or report.outcome != "passed"):
        outcomes = item.session.config.stash.setdefault(_OUTCOMES, {})
        test = f"{item.path.name}::{getattr(item, 'originalname', item.name)}"
        outcome = "xfailed" if hasattr(report, "wasxfail") and report.outcome == "skipped" else report.outcome
        ended = outcomes.setdefault(test, {})
        if ended.get(kind) != "failed":
            ended[kind] = outcome
    return report


def pytest_sessionfinish(session: pytest.Session) -> None:
    path = session.config.getoption("--conformance-table", None)  # absent when this folder is not named
    if path:
        outcomes = session.config.stash[_OUTCOMES]
        Path(path).parent.mkdir(exist_ok=True)
        Path(path).write_text(document(outcomes))
