"""A plugin in plain CPython."""

import logging
import random
import sys

import pytest

from host_sim.calls import CALLS
from host_sim.errors import LoadError
from host_sim.stepped import SteppedSimulator
from tests.host_sim.guests import CLUSTERS, REQUEST

WATCHED = ("proxywasm", "tests", "logging", "random")
PLUGIN = "tests.host_sim.native_plugin:Plugin"


def start(**options):
    return SteppedSimulator(PLUGIN, clusters=CLUSTERS, **options)


def play(sim, path, end_of_stream=True):
    stream = sim.open_stream()
    stream.request_headers({**REQUEST, ":path": path}, end_of_stream)
    return stream


def header(stream, name):
    return stream.upstream.headers.get(name)


def test_every_vm_has_its_own_modules():
    before = {name: module for name, module in sys.modules.items() if name.startswith(WATCHED)}
    first, second = start(), start()  # the plugin starts only with `made` empty
    first.finish()
    second.finish()
    after = {name: module for name, module in sys.modules.items() if name.startswith(WATCHED)}
    assert before == after
    assert "_proxywasm" not in sys.modules
    assert "tests.host_sim.native_plugin" not in sys.modules


def test_an_import_in_a_callback_finds_the_modules_of_the_vm():
    assert header(play(start(), "/lazy"), b"x-same") == b"True"


@pytest.mark.parametrize("end_of_stream", [True, False])
def test_end_of_stream_is_a_bool(end_of_stream):
    assert header(play(start(), "/end", end_of_stream), b"x-end") == repr(end_of_stream).encode()


def test_logging_goes_to_the_host_of_the_vm_only():
    first, second = start(), start()
    play(first, "/log")
    assert len(first.gateway.logs) == 1
    assert not second.gateway.logs
    assert not logging.getLogger("tests").handlers


def test_random_repeats_from_the_seed_and_leaves_the_process_alone():
    random.seed(1)
    state = random.getstate()
    logs = []
    for seed in (7, 7, 8):
        sim = start(seed=seed)
        play(sim, "/log")
        logs.append(sim.gateway.logs[0].message)
    assert logs[0] == logs[1] != logs[2]
    assert random.getstate() == state


@pytest.mark.parametrize(
    ("path", "said"), [("/raise", "ValueError: mine"), ("/type", "TypeError"), ("/refused", "BAD_ARGUMENT")]
)
def test_an_exception_is_logged_and_the_request_continues(path, said):
    sim = start()
    stream = play(sim, path)
    assert stream.upstream.ended
    assert said in sim.gateway.logs[-1].message
    assert sim.gateway.shared.metrics.values()["proxywasm_exceptions"] == 1


@pytest.mark.parametrize(("path", "value"), [("/", b"seen"), ("/no-more", None)])
def test_callbacks_that_are_not_wanted_do_not_come(path, value):
    stream = play(start(), path)
    stream.response_headers({":status": "200"})
    assert stream.downstream.headers.get(b"x-response") == value


def test_results_are_masked_to_32_bits():
    stream = play(start(), "/negative")
    assert stream.trace.callbacks[-1].result == 0xFFFF_FFFF
    assert stream.paused


def test_a_configuration_that_raises_is_refused():
    with pytest.raises(LoadError, match=r"(?s)on_configure: it returned false.*a bad configuration"):
        start(plugin_config="refuse")


def test_what_cannot_be_imported():
    with pytest.raises(LoadError, match="no_such_module"):
        SteppedSimulator("no_such_module:Plugin")
    with pytest.raises(LoadError, match="NoSuchClass"):
        SteppedSimulator("tests.host_sim.native_plugin:NoSuchClass")
    with pytest.raises(LoadError, match="does not count instructions"):
        start(fuel=True)


def test_a_host_failure_that_is_not_a_refusal_reaches_the_plugin(monkeypatch):
    """Unlike in the wasm guest, the exception passes the plugin's frames; it is in the log with its traceback."""

    def broken(*arguments):
        raise ZeroDivisionError("broken host")

    monkeypatch.setitem(CALLS, "proxy_set_upstream_override_host", broken)
    sim = start()
    play(sim, "/refused")
    assert "ZeroDivisionError: broken host" in sim.gateway.logs[-1].message
