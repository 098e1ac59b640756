"""The wasm guest, with small modules written as text."""

import gc
import weakref

import pytest
import wasmtime

from host_sim.abi import HIGRESS_CALLS, host_calls, parameter_types
from host_sim.calls import CALLS
from host_sim.compiled_cache import CompiledCache
from host_sim.errors import LoadError
from host_sim.stepped import SteppedSimulator
from host_sim.wasi import WASI_FUNCTIONS
from host_sim.wasm_guest import WasmFactory
from tests.host_sim.guests import CLUSTERS, PREAMBLE, REQUEST, wat

LOG = '(import "env" "proxy_log" (func $log (param i32 i32 i32) (result i32)))'
GET_HEADER = '(import "env" "proxy_get_header_map_value" (func $get (param i32 i32 i32 i32 i32) (result i32)))'


def start(factory, target="higress", **options):
    return SteppedSimulator(factory, target, clusters=CLUSTERS, **options)


def load_error(factory, target="higress"):
    with pytest.raises(LoadError) as caught:
        start(factory, target)
    return str(caught.value)


def messages(sim):
    return [record.message for record in sim.gateway.logs]


def log_ok(offset=0, size=2):
    return f"(drop (call $log (i32.const 2) (i32.const {offset}) (i32.const {size})))"


def test_a_callback_logs(wasm):
    sim = start(wasm(f'{LOG};;;(data (i32.const 0) "ok")(func (export "proxy_on_tick") (param i32) {log_ok()})'))
    sim.vm.tick()
    assert messages(sim) == ["ok"]
    sim.finish()


def test_results_are_written_to_memory_of_the_guest(wasm):
    """The header's value is put where `malloc` says, and its address and size where the out-pointers show."""
    body = f"""{LOG} {GET_HEADER};;;
      (data (i32.const 0) ":PATH")
      (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
        (drop (call $get (i32.const 0) (i32.const 0) (i32.const 5) (i32.const 100) (i32.const 104)))
        (drop (call $log (i32.const 2) (i32.load (i32.const 100)) (i32.load (i32.const 104))))
        (i32.const 0))"""
    sim = start(wasm(body))
    stream = sim.open_stream()
    stream.request_headers(REQUEST)
    assert messages(sim) == ["/v1/chat"]
    assert stream.upstream.ended


def test_a_refusal_is_a_status(wasm):
    body = f"""{GET_HEADER};;;
      (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
        (call $get (i32.const 0) (i32.const 0) (i32.const 3) (i32.const 100) (i32.const 104)))"""
    sim = start(wasm(body))
    stream = sim.open_stream()
    stream.request_headers(REQUEST, end_of_stream=False)
    assert stream.trace.callbacks[-1].result == 1  # NOT_FOUND


@pytest.mark.parametrize("arguments", ["(i32.const -8) (i32.const 3)", "(i32.const 0) (i32.const -1)"])
def test_an_address_outside_the_memory_is_a_status(wasm, arguments):
    body = f"""{LOG};;;(func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
      (call $log (i32.const 2) {arguments}))"""
    sim = start(wasm(body))
    stream = sim.open_stream()
    stream.request_headers(REQUEST)
    assert stream.trace.callbacks[-1].result == 6  # INVALID_MEMORY_ACCESS


def test_memory_that_grew_is_seen(wasm):
    body = f"""{LOG};;;(func (export "proxy_on_tick") (param i32)
        (drop (memory.grow (i32.const 10)))
        (i32.store16 (i32.const 700000) (i32.const 0x6b6f))
        {log_ok(700000)})"""
    sim = start(wasm(body))
    sim.vm.tick()
    assert messages(sim) == ["ok"]


def test_pairs_cross_both_ways(wasm):
    body = """
      (import "env" "proxy_get_header_map_pairs" (func $get (param i32 i32 i32) (result i32)))
      (import "env" "proxy_set_header_map_pairs" (func $set (param i32 i32 i32) (result i32)));;;
      (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
        (drop (call $get (i32.const 0) (i32.const 100) (i32.const 104)))
        (drop (call $set (i32.const 0) (i32.const 0) (i32.const 5)))
        (call $set (i32.const 0) (i32.load (i32.const 100)) (i32.load (i32.const 104))))"""
    sim = start(wasm(body))
    stream = sim.open_stream()
    stream.request_headers([*REQUEST.items(), ("x", "\udcff")])
    assert stream.upstream.headers.text_pairs() == [*REQUEST.items(), ("x", "\udcff")]
    sets = [record for record in stream.trace.host_calls if record.function == "proxy_set_header_map_pairs"]
    assert sets[0].arguments == (0, [])  # malformed pairs are an empty map, silently


def test_negative_numbers_arrive_as_such(wasm):
    body = """(import "env" "proxy_increment_metric" (func $add (param i32 i64) (result i32)))
      (import "env" "proxy_define_metric" (func $define (param i32 i32 i32 i32) (result i32)));;;
      (func (export "proxy_on_tick") (param i32)
        (drop (call $define (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 100)))
        (drop (call $add (i32.load (i32.const 100)) (i64.const -5))))"""
    sim = start(wasm(body))
    sim.vm.tick()
    assert sim.gateway.shared.metrics.values() == {"\0": -5}


TRAP = """(func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32) unreachable)
  (func (export "proxy_on_log") (param i32))"""


def test_a_trap_kills_the_vm_and_it_fails_closed(wasm):
    sim = start(wasm(";;;" + TRAP), "envoy")
    stream = sim.open_stream()
    stream.request_headers(REQUEST)
    assert sim.observe(stream).status == 503
    assert "proxy_on_request_headers trapped" in sim.vm.dead
    assert "unreachable" in sim.vm.dead
    assert "the VM is dead" in messages(sim)[-1]
    late = sim.open_stream()
    late.request_headers(REQUEST)
    assert (sim.observe(late).status, sim.observe(late).local_reply.details) == (503, "wasm_fail_stream")
    assert not late.trace.callbacks
    sim.finish()


def test_python_exceptions_of_host_functions_come_out_intact(wasm, monkeypatch):
    class Mine(Exception):
        pass

    def broken(*arguments):
        raise Mine("boom")

    monkeypatch.setitem(CALLS, "proxy_log", broken)
    sim = start(wasm(f'{LOG};;;(func (export "proxy_on_tick") (param i32) {log_ok()})'))
    with pytest.raises(Mine, match="boom"):
        sim.vm.tick()
    assert "abandoned" in sim.vm.dead  # its frames were left without unwinding


# Loading


def test_unknown_imports_are_named(wasm):
    unknown = '(import "env" "proxy_frobnicate" (func));;;'
    assert "imports env.proxy_frobnicate, which higress does not offer" in load_error(wasm(unknown))
    redis = '(import "env" "proxy_redis_call" (func (param i32 i32 i32 i32 i32) (result i32)));;;'
    start(wasm(redis)).finish()
    assert "proxy_redis_call, which envoy does not offer" in load_error(wasm(redis), "envoy")
    wasi = '(import "wasi_snapshot_preview1" "fd_tell" (func (param i32 i32) (result i32)));;;'
    assert "wasi_snapshot_preview1.fd_tell" in load_error(wasm(wasi))


@pytest.mark.parametrize("target", ["higress", "envoy"])
def test_everything_that_a_target_offers_can_be_imported(wasm, target):
    imports = [
        f'(import "env" "{name}" (func (param {" ".join(parameter_types(signature))}) (result i32)))'
        for name, signature in host_calls(target).items()
    ]
    types = {"i": "(param i32)", "l": "(param i64)"}
    imports += [
        f'(import "wasi_snapshot_preview1" "{name}" (func {"".join(types[kind] for kind in parameters)}'
        f"{'' if name == 'proc_exit' else '(result i32)'}))"
        for name, parameters in WASI_FUNCTIONS.items()
    ]
    assert len(WASI_FUNCTIONS) == 18
    assert (set(HIGRESS_CALLS) <= set(host_calls(target))) is (target == "higress")
    start(wasm("".join(imports) + ";;;"), target).finish()


@pytest.mark.parametrize(
    ("preamble", "error"),
    [
        (PREAMBLE.replace('(export "memory")', ""), "exports no memory"),
        (PREAMBLE.replace('(export "malloc")', ""), "no allocator"),
        (PREAMBLE.replace("0_2_1", "0_2_9"), "no ABI marker"),
    ],
)
def test_what_every_module_must_have(wasm, preamble, error):
    assert error in load_error(wasm(";;;", preamble))


def test_wrong_signatures_fail_the_load(wasm):
    assert "proxy_on_tick with a wrong signature: () -> ()" in load_error(wasm(';;;(func (export "proxy_on_tick"))'))
    assert "env.proxy_log with a wrong signature" in load_error(wasm('(import "env" "proxy_log" (func));;;'))


def test_the_first_marker_that_the_target_knows_wins(wasm):
    """Exporting 0_2_100 *before* 0_2_1 selects 0_2_100 in Higress and 0_2_1 in Envoy."""
    both = '(func (export "proxy_abi_version_0_2_100"))' + PREAMBLE
    assert start(wasm(";;;", both)).vm.guest.abi_marker == "proxy_abi_version_0_2_100"
    assert start(wasm(";;;", both), "envoy").vm.guest.abi_marker == "proxy_abi_version_0_2_1"
    alone = PREAMBLE.replace("0_2_1", "0_2_100")
    assert "no ABI marker" in load_error(wasm(";;;", alone), "envoy")


def test_malloc_is_preferred(wasm):
    fallback = '(func (export "proxy_on_memory_allocate") (param i32) (result i32) unreachable)'
    body = f"""{GET_HEADER};;;{fallback}(data (i32.const 0) ":path")
      (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
        (call $get (i32.const 0) (i32.const 0) (i32.const 5) (i32.const 100) (i32.const 104)))"""
    sim = start(wasm(body))
    sim.open_stream().request_headers(REQUEST)
    assert sim.vm.dead is None
    only = PREAMBLE.replace('"malloc"', '"proxy_on_memory_allocate"')
    sim = start(wasm(body.replace(fallback, ""), only))
    sim.open_stream().request_headers(REQUEST)
    assert sim.vm.dead is None


def test_imports_are_restricted_while_the_module_starts(wasm):
    """During `_initialize`/`_start` only these imports may be called, else a trap and the load fails. The wasm start
    section must call no import."""
    initialize = f'{LOG};;;(data (i32.const 0) "ok")(func (export "_initialize") {log_ok()})'
    sim = start(wasm(initialize))
    assert messages(sim) == ["ok"]
    time = '(import "env" "proxy_get_current_time_nanoseconds" (func $time (param i32) (result i32)));;;'
    early = wasm(f'{time}(func (export "_initialize") (drop (call $time (i32.const 0))))')
    assert "proxy_get_current_time_nanoseconds is called while the module starts" in load_error(early)
    section = wasm(f"{LOG};;;(func $s {log_ok()})(start $s)")
    assert "proxy_log is called while the module starts" in load_error(section)


def test_the_order_of_starting(wasm):
    def says(name, text, signature=""):
        at = {"init": 0, "main": 10, "_start": 20}[text]
        result = "(i32.const 0)" if "result" in signature else ""
        return f'(data (i32.const {at}) "{text}")(func (export "{name}") {signature} {log_ok(at, len(text))} {result})'

    main = says("main", "main", "(param i32 i32) (result i32)")
    both = LOG + ";;;" + says("_initialize", "init") + main + says("_start", "_start")
    assert messages(start(wasm(both))) == ["init", "main"]
    assert messages(start(wasm(LOG + ";;;" + main + says("_start", "_start")))) == ["_start"]
    assert "trapped" in load_error(wasm(';;;(func (export "_initialize") unreachable)'))


def test_not_wasm_and_no_file(wasm, tmp_path):
    with pytest.raises(LoadError, match="not a valid wasm module"):
        WasmFactory(b"hello", cache=CompiledCache(tmp_path))
    with pytest.raises(LoadError, match="No such file"):
        WasmFactory(tmp_path / "none.wasm", cache=CompiledCache(tmp_path))


# Instructions


def test_instructions_are_counted_per_callback(wasm):
    body = """;;;(func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
        (i32.add (i32.const -1) (i32.const 1)))
      (func (export "proxy_on_log") (param i32))"""
    sim = start(wasm(body, fuel=True))
    spent = []
    for _ in range(2):
        stream = sim.open_stream()
        stream.request_headers(REQUEST)
        stream.response_headers({":status": "200"})
        spent.append(sim.observe(stream).instructions)
    assert spent[0] == spent[1]
    assert spent[0]["proxy_on_request_headers"] - spent[0]["proxy_on_log"] == 3
    plain = start(wasm(body))
    stream = plain.open_stream()
    stream.request_headers(REQUEST)
    assert plain.observe(stream).instructions == {}


# The cache of compiled modules


def test_compiled_modules_are_cached_and_bounded(tmp_path):
    cache = CompiledCache(tmp_path, entries_max=2)
    for number in range(4):
        WasmFactory(wat(f';;;(data (i32.const {number}) "x")'), cache=cache)
    assert len(list(tmp_path.iterdir())) == 2
    WasmFactory(wat(';;;(data (i32.const 3) "x")'), cache=cache)
    assert len(list(tmp_path.iterdir())) == 2
    WasmFactory(wat(';;;(data (i32.const 3) "x")'), fuel=True, cache=cache)  # other settings, another entry
    assert len(list(tmp_path.iterdir())) == 2


def test_the_least_recently_used_entry_goes_first(tmp_path):
    cache = CompiledCache(tmp_path, entries_max=2)
    for number in (0, 1, 0, 2):
        WasmFactory(wat(f';;;(data (i32.const {number}) "x")'), cache=cache)
    monitored = CompiledCache(tmp_path, entries_max=2)
    stored: list[str] = []
    monitored.store = lambda key, compiled: stored.append(key)  # type: ignore[method-assign]
    WasmFactory(wat(';;;(data (i32.const 0) "x")'), cache=monitored)
    assert stored == []
    WasmFactory(wat(';;;(data (i32.const 1) "x")'), cache=monitored)
    assert len(stored) == 1


def test_a_cached_module_is_not_compiled_again(tmp_path, monkeypatch):
    WasmFactory(wat(";;;"), cache=CompiledCache(tmp_path))

    class NoCompiler:
        deserialize_file = wasmtime.Module.deserialize_file

    monkeypatch.setattr(wasmtime, "Module", NoCompiler)  # calling it with a module would be a TypeError
    start(WasmFactory(wat(";;;"), cache=CompiledCache(tmp_path))).finish()


def test_a_broken_cache_entry_is_made_again(tmp_path):
    WasmFactory(wat(";;;"), cache=CompiledCache(tmp_path))
    (entry,) = tmp_path.iterdir()
    good = entry.read_bytes()
    entry.write_bytes(b"broken")
    start(WasmFactory(wat(";;;"), cache=CompiledCache(tmp_path))).finish()
    assert len(entry.read_bytes()) == len(good)


def test_a_closed_guest_is_freed(wasm):
    sim = start(wasm(f'{LOG};;;(func (export "proxy_on_tick") (param i32) {log_ok()})'))
    guest = weakref.ref(sim.vm.guest)
    sim.finish()
    del sim
    gc.collect()
    assert guest() is None
