# mypy: disable-error-code="arg-type, has-type, misc, name-defined, valid-type, var-annotated"
# The classes here subclass a copy of the SDK that is imported at run time, which mypy cannot see.
"""Logging through the host, and its gate."""

import logging

import pytest
from proxywasm.enums import LogLevel


@pytest.fixture
def logger():
    logger = logging.getLogger("some_plugin")
    yield logger
    logger.handlers.clear()
    logger.setLevel(logging.NOTSET)
    logging.getLogger("proxywasm").handlers.clear()
    logging.getLogger("proxywasm").setLevel(logging.NOTSET)


def test_levels_map_to_the_hosts(sdk, host, logger):
    host.answers["get_log_level"] = LogLevel.TRACE
    sdk.log.install("some_plugin")
    sdk.log.refresh_level()
    for level in (5, logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR, logging.CRITICAL):
        logger.log(level, "level %d", level)
    assert host.named("log") == [
        (LogLevel.TRACE, "level 5"),
        (LogLevel.DEBUG, "level 10"),
        (LogLevel.INFO, "level 20"),
        (LogLevel.WARN, "level 30"),
        (LogLevel.ERROR, "level 40"),
        (LogLevel.CRITICAL, "level 50"),
    ]


@pytest.mark.parametrize(("host_level", "logged"), [(LogLevel.INFO, 3), (LogLevel.ERROR, 1), (6, 0)])
def test_the_gate_is_the_hosts_level(sdk, host, logger, host_level, logged):
    host.answers["get_log_level"] = host_level
    sdk.log.install("some_plugin")
    sdk.log.refresh_level()
    logger.debug("debug")
    logger.info("info")
    logger.warning("warning")
    logger.error("error")
    assert len(host.named("log")) == logged


def test_the_gate_is_renewed_by_configure_start_and_tick(sdk, host, logger):
    class Root(sdk.RootContext):
        def on_tick(self):
            pass

    Root.__module__ = "some_plugin.plugin"
    sdk.vm.start(Root, "envoy")
    host.call("on_context_create", 1, 0)
    for callback, arguments in [("on_vm_start", [0]), ("on_configure", [0]), ("on_tick", [])]:
        host.answers["get_log_level"] = LogLevel.ERROR
        host.call(callback, 1, *arguments)
        assert not logger.isEnabledFor(logging.INFO)
        host.answers["get_log_level"] = LogLevel.INFO
        host.call(callback, 1, *arguments)
        assert logger.isEnabledFor(logging.INFO)


def test_a_host_that_does_not_tell_its_level_gets_info(sdk, host, logger):
    host.answers["get_log_level"] = sdk.errors.host_error("proxy_get_log_level", 12)
    sdk.log.install("some_plugin")
    sdk.log.refresh_level()
    assert logger.level == logging.INFO


def test_a_second_start_does_not_log_twice(sdk, host, logger):
    sdk.log.install("some_plugin")
    sdk.log.install("some_plugin")
    sdk.log.refresh_level()
    logger.error("once")
    assert host.named("log") == [(LogLevel.ERROR, "once")]


def test_lines_are_logged_when_they_end(sdk, host):
    stdout = sdk.log.LineWriter(LogLevel.INFO)
    print("a", "b", file=stdout)
    stdout.write("c")
    stdout.flush()
    assert host.named("log") == [(LogLevel.INFO, "a b")]
    stdout.write("d\n\ne")
    assert host.named("log")[1:] == [(LogLevel.INFO, "cd"), (LogLevel.INFO, "")]


def test_a_line_without_an_end_is_bounded(sdk, host):
    stdout = sdk.log.LineWriter(LogLevel.INFO)
    for _ in range(100):
        stdout.write("x" * 1000)
    print(file=stdout)
    lengths = [len(text) for _, text in host.named("log")]
    bound = sdk.log.MAX_MESSAGE_CHARACTERS
    assert lengths == [bound] * (100_000 // bound) + [100_000 % bound]
