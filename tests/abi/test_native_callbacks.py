"""From the host's callbacks to Python methods: who is called, with what, and what the host gets."""

import re

import pytest
from proxywasm.callbacks import CONTEXT_CALLBACKS
from proxywasm_build.targets import CALLBACKS

from .raw_host import ERROR, INFO, RawHost

INSTRUCTIONS_MAX = 100  # of a callback that nobody wants

DISPATCHED = sorted(name for name in CALLBACKS if name.removeprefix("proxy_") not in CONTEXT_CALLBACKS)
WITH_END_OF_STREAM = re.compile("on_(request|response)_(headers|body)|on_(down|up)stream_data")
STARTING = ("on_vm_start", "on_configure", "validate_configuration")


def numbers(name: str) -> list[int]:
    """Parameters after the context id."""
    return list(range(70_001, 70_001 + len(CALLBACKS[name].params) - 1))


def returns(name: str) -> bool:
    return bool(CALLBACKS[name].results)


def default(callback: str) -> int:
    return int(callback in (*STARTING, "on_done"))


def called(host: RawHost, callback: str, script: str = "") -> int | None:
    name = f"proxy_{callback}"
    host.script = script
    del host.log[:]
    result: int | None = host.call(name, 2, *numbers(name))
    return result


@pytest.mark.parametrize("callback", CONTEXT_CALLBACKS)
class TestContextCallbacks:
    def test_goes_to_the_method(self, host, callback):
        called(host, callback)
        expected: tuple[object, ...] = tuple(numbers(f"proxy_{callback}"))
        if WITH_END_OF_STREAM.fullmatch(callback):
            expected = (*expected[:-1], True)
        assert host.log == [(INFO, f"{callback}{expected}")]

    def test_none_means_the_default(self, host, callback):
        assert called(host, callback) == (default(callback) if returns(f"proxy_{callback}") else None)

    @pytest.mark.parametrize(
        ("value", "result"),
        [("0", 0), ("4", 4), ("True", 1), ("False", 0), ("-1", 2**32 - 1), ("2**32 + 5", 5), ("-2**200 + 3", 3)],
    )
    def test_results_are_masked_to_32_bits(self, host, callback, value, result):
        assert called(host, callback, f"result = {value}") == (result if returns(f"proxy_{callback}") else None)
        assert len(host.log) == 1

    @pytest.mark.parametrize("value", ["'text'", "1.5", "[]"])
    def test_a_result_of_a_wrong_type(self, host, callback, value):
        result = called(host, callback, f"result = {value}")
        if returns(f"proxy_{callback}"):
            assert result == (0 if callback in STARTING else default(callback))
            level, text = host.log[1]
            assert level == ERROR
            assert f"TypeError('{callback}: expected int, bool or None as its result, not " in text
        else:
            assert len(host.log) == 1

    @pytest.mark.parametrize("raised", ["ValueError()", "SystemExit(3)", "KeyboardInterrupt()", "BaseException()"])
    def test_an_exception_goes_to_the_dispatcher(self, host, callback, raised):
        result = called(host, callback, f"raise {raised}")
        assert host.log[1:] == [(ERROR, f"{callback} 2 {raised}")]
        if returns(f"proxy_{callback}"):
            assert result == (0 if callback in STARTING else default(callback))
        assert called(host, callback) == (default(callback) if returns(f"proxy_{callback}") else None)

    def test_not_wanted(self, host, callback):
        """Only the bit of this callback counts, and Python is not entered."""
        name = f"proxy_{callback}"
        bit = 1 << CONTEXT_CALLBACKS.index(callback)
        host.run(f"p.set_wanted(2, {0xFFFFFFFF & ~bit})")
        del host.log[:]
        assert host.instructions(name, 2, *numbers(name)) <= INSTRUCTIONS_MAX
        assert called(host, callback) == (default(callback) if returns(name) else None)
        assert host.log == []
        host.run(f"p.set_wanted(2, {bit})")
        called(host, callback)
        assert len(host.log) == 1

    def test_unknown_context(self, host, callback):
        name = f"proxy_{callback}"
        del host.log[:]
        assert host.instructions(name, 77, *numbers(name)) <= INSTRUCTIONS_MAX
        assert host.call(name, 77, *numbers(name)) == (default(callback) if returns(name) else None)
        assert host.log == []


@pytest.mark.parametrize("name", DISPATCHED)
def test_other_callbacks_go_to_the_dispatcher(host: RawHost, name):
    callback = name.removeprefix("proxy_")
    del host.log[:]
    assert host.call(name, 2, *numbers(name)) is None
    assert host.log == [(INFO, f"{callback}{(2, *numbers(name))}")]
    host.script = "raise SystemExit(3)"
    host.call(name, 2, *numbers(name))
    assert host.log[-1] == (ERROR, f"{callback} 2 SystemExit(3)")


def test_end_of_stream_may_be_any_number(host: RawHost):
    host.script = "say(repr(arguments[1]))"
    for number, flag in ((0, "False"), (1, "True"), (-1, "True")):
        host.call("proxy_on_request_body", 2, 5, number)
        assert host.log[-1] == (INFO, flag)


def test_recursion_is_an_exception(host: RawHost):
    for _ in range(3):
        called(host, "on_request_headers", "def f(): f()\nf()")
        assert host.log[1][0] == ERROR
        assert host.log[1][1].startswith("on_request_headers 2 RecursionError(")
    assert called(host, "on_request_headers", "result = 1") == 1


def test_a_method_that_is_missing(host: RawHost):
    host.run("p.attach(9, object(), -1)")
    assert host.call("proxy_on_request_headers", 9, 1, 1) == 0
    assert "AttributeError" in host.log[-1][1]


def test_an_exception_in_on_exception_is_told(host: RawHost):
    host.run("handler['raises'] = True")
    assert called(host, "on_request_headers", "raise ValueError") == 0
    assert host.log[-1][0] == ERROR
    assert host.log[-1][1].startswith("proxywasm: a callback raised an exception, and so did on_exception")
    assert called(host, "on_request_headers", "result = 1") == 1


def test_a_context_may_detach_itself_in_a_callback(host: RawHost):
    assert called(host, "on_request_headers", "p.detach(2); gc.collect(); result = 1") == 1
    assert called(host, "on_request_headers", "result = 1") == 0


def test_attaching_again_replaces(host: RawHost):
    host.run("p.attach(2, object(), 0)")
    assert called(host, "on_request_headers", "result = 1") == 0


def test_a_context_is_released_when_it_is_detached(host: RawHost):
    host.run(
        "class Watched:\n"
        "    def __del__(self): p.attach(3, self.__class__, 0); say('released')\n"
        "p.attach(2, Watched(), 0)\n"
        "p.detach(2); p.detach(2)"
    )
    assert [text for _, text in host.log].count("released") == 1


def test_the_table_of_contexts_against_a_dict(host: RawHost):
    """Random attach, set_wanted and detach, with ids that collide; then every id is asked for."""
    host.run(
        "import random\n"
        "source, known = random.Random(5), {}\n"
        "class Tell:\n"
        "    def __init__(self, answer): self.answer = answer\n"
        "    def on_done(self): return self.answer\n"
        "for step in range(20_000):\n"
        "    # in waves, so that the table grows, empties, and fills again\n"
        "    context_id = 3 + source.choice((source.randrange(3000), source.randrange(2**32 - 3)))\n"
        "    if source.random() < (0.7 if step // 4000 % 2 == 0 else 0.2):\n"
        "        known[context_id] = [Tell(step), -1]\n"
        "        p.attach(context_id, *known[context_id])\n"
        "    elif known and source.random() < 0.8:\n"
        "        context_id = source.choice(list(known)[:50])\n"
        "        del known[context_id]\n"
        "        p.detach(context_id)\n"
        "    else:\n"
        "        p.detach(context_id) if context_id not in known else p.set_wanted(context_id, 1 << 6)\n"
        "kept['known'] = known"
    )
    known = dict(eval(host.evaluate("[(key, tell.answer) for key, (tell, _) in kept['known'].items()]")))
    assert len(known) > 500
    for context_id in [*known, *range(3, 3003)]:
        assert host.call("proxy_on_done", context_id) == known.get(context_id, 1)


def test_every_vm_starts_from_the_snapshot(new_host):
    first, second = new_host(), new_host()
    first.run("kept['mark'] = 1")
    assert first.evaluate("sorted(kept)") == "['mark']"
    assert second.evaluate("sorted(kept)") == "[]"
