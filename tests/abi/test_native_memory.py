"""How results come into the guest's memory: without a copy if the host allocates once, rightly however it allocates."""

from collections.abc import Callable

import pytest

from .raw_host import INTERNAL_FAILURE, OK, RawHost

PAGE = 65536
SCRATCH_SIZE = 16 * 1024
# A context whose callback calls the host at once, where those of the scripted guest first ask for their script.
PLAIN = "class Plain:\n    def on_done(self): p.done()\np.attach(9, Plain(), -1)"
SIZES = [1, 2, 15, 1000, SCRATCH_SIZE - 1, SCRATCH_SIZE, SCRATCH_SIZE + 1, 3_000_000]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("with_callback", [False, True])
def test_bytes_are_allocated_inside_the_object(host: RawHost, size, with_callback):
    host.run(PLAIN)
    placed = []

    def answer(key):
        if with_callback:
            host.call("proxy_on_done", 9)
        placed.append(host.place(b"x" * size))
        return OK, (placed[0], size)

    host.answers["proxy_get_property"] = answer
    assert host.evaluate(f"[(v := p.get_property('k')) == b'x' * {size}, id(v)]").startswith("[True, ")
    address = int(host.log[-1][1].partition(", ")[2][:-1])
    assert address < placed[0] < address + 64  # behind the object's head


@pytest.mark.parametrize("size", SIZES)
def test_text_of_any_size(host: RawHost, size):
    host.answers["proxy_get_header_map_value"] = lambda *_: (OK, b"\xff" + b"x" * (size - 1))
    assert host.evaluate(f"p.get_header_map_value(0, 'k') == '\\udcff' + 'x' * {size - 1}") == "True"


def test_short_text_takes_no_heap(host: RawHost):
    placed = []

    def answer(map_type, key):
        placed.append(host.place(b"text"))
        return OK, (placed[-1], 4)

    host.answers["proxy_get_header_map_value"] = answer
    host.run("p.get_header_map_value(0, 'k'); kept['x'] = bytes(100); p.get_header_map_value(0, 'k')")
    assert placed[0] == placed[1] != host.call("malloc", 4)


@pytest.mark.parametrize("call", ["get_property('k')", "get_header_map_value(0, 'k')"])
class TestOddHosts:
    """`expected` is the value as bytes; text is compared after encoding."""

    def value(self, host: RawHost, call: str) -> str:
        return host.evaluate(f"(v := p.{call}) and (v if isinstance(v, bytes) else v.encode())")

    def answer(self, host: RawHost, call: str, answer) -> None:
        host.answers["proxy_" + call.partition("(")[0]] = answer

    def test_nothing_is_placed(self, host, call):
        self.answer(host, call, lambda *_: (OK, (0, 0)))
        assert host.evaluate(f"len(p.{call})") == "0"

    def test_an_allocation_of_nothing(self, host, call):
        addresses = []

        def answer(*_):
            addresses.append(host.allocate(0))
            return OK, (addresses[0], 0)

        self.answer(host, call, answer)
        assert host.evaluate(f"len(p.{call})") == "0"
        assert addresses[0] != 0

    def test_less_is_used_than_was_allocated(self, host, call):
        self.answer(host, call, lambda *_: (OK, (host.place(b"value and more"), 5)))
        assert self.value(host, call) == "b'value'"

    def test_the_value_begins_later(self, host, call):
        self.answer(host, call, lambda *_: (OK, (host.place(b"the value") + 4, 5)))
        assert self.value(host, call) == "b'value'"

    @pytest.mark.parametrize("which", [0, 1, 2])
    def test_several_allocations(self, host, call, which):
        def answer(*_):
            placed = [host.place(bytes([65 + i]) * 5) for i in range(3)]
            return OK, (placed[which], 5)

        self.answer(host, call, answer)
        assert self.value(host, call) == repr(bytes([65 + which]) * 5)

    def test_memory_of_the_hosts_own_making(self, host, call):
        own = host.place(b"value")
        self.answer(host, call, lambda *_: (OK, (own, 5)))
        assert self.value(host, call) == "b'value'"

    def test_a_call_refused_after_its_allocation(self, host, call):
        def answer(*_):
            host.place(b"value")
            return INTERNAL_FAILURE

        self.answer(host, call, answer)
        with pytest.raises(Exception, match="HostError"):
            self.value(host, call)
        self.answer(host, call, lambda *_: (OK, b"next"))
        assert self.value(host, call) == "b'next'"

    def test_more_than_there_is(self, host, call):
        sizes = {}

        def answer(*_):
            sizes.update({size: host.allocate(size) for size in (2**31 - 1, 2**31, 2**32 - 1, 2**31 - 100)})
            return OK, b"value"

        self.answer(host, call, answer)
        assert self.value(host, call) == "b'value'"
        assert set(sizes.values()) == {0}

    def test_a_callback_during_the_call(self, host, call):
        """Its allocations are its own, and so are its host calls."""
        depth: list[None] = []

        def answer(*_):
            depth.append(None)
            address = host.place(f"value {len(depth)}".encode())
            if len(depth) < 3:
                kept = host.script
                host.script = f"kept['inner'] = p.{call}"
                host.call("proxy_on_request_headers", 2, 0, 0)
                host.script = kept
            return OK, (address, 7)

        self.answer(host, call, answer)
        assert self.value(host, call) == "b'value 1'"
        assert host.evaluate("kept['inner'][-1:]") in ("b'2'", "'2'")
        assert len(depth) == 3

    def test_what_the_host_allocates_in_a_callback_during_the_call_is_its_own(self, host, call):
        own: list[int] = []

        def answer(*_):
            host.call("proxy_on_done", 9)
            return OK, b"value"

        def place_own():
            own[:] = [host.place(b"o" * 1000) for _ in range(3)]
            return OK

        host.run(PLAIN)
        self.answer(host, call, answer)
        host.answers["proxy_done"] = place_own
        assert self.value(host, call) == "b'value'"
        host.run("kept['others'] = [b'z' * (900 + i) for i in range(200)]")
        assert [host.read(address, 1000) for address in own] == [b"o" * 1000] * 3


def test_allocations_outside_a_call_are_the_hosts(host: RawHost):
    host.answers["proxy_get_property"] = lambda _: (OK, b"value")
    host.answers["proxy_get_header_map_value"] = lambda *_: (OK, b"value")
    own = [host.place(b"before")]

    def place_own():
        own.append(host.place(b"during"))
        return OK

    host.answers["proxy_done"] = place_own
    for call in ("p.get_property('k')", "p.get_header_map_value(0, 'k')"):
        host.run(f"{call}; p.done(); {call}; p.done()")
        own.append(host.place(b"after "))
    host.run("p.get_property('k'); p.get_header_map_value(0, 'k')")
    each = [b"during", b"during", b"after "]
    assert [host.read(address, 6) for address in own] == [b"before", *each, *each]
    assert host.call("malloc", 0) != 0
    assert host.call("malloc", 2**32 - 1) == 0


LEAK_CALLS = 8000  # made of each kind; a block of dlmalloc has at least 16 bytes
REPEATED = [
    ("p.get_property('key' + 'é')", 20),
    ("p.get_header_map_value(0, 'k\\udcff')", 20),
    ("p.get_header_map_value(1, 'k')", SCRATCH_SIZE + 1),
    ("p.get_header_map_pairs(0)", 0),
    ("p.get_shared_data('k')", 20),
    ("p.set_header_map_pairs(0, [('a', 'b' * 2000), ('c', 'd\\udcff')])", 0),
    ("p.set_property('k', b'v')", 0),
    ("p.attach(500, object(), 0); p.detach(500)", 0),
]


def use_up_free_blocks(host: RawHost) -> None:
    """The snapshot's heap has megabytes of free blocks of all sizes, in which a leak would not show."""
    before = host.pages()
    while host.pages() <= before:
        host.run("kept.setdefault('fill', []).append([bytes(size) for size in range(0, 400, 4) for _ in range(200)])")


def room(host: RawHost) -> int:
    """How many bytes can be allocated until the memory grows."""
    before, blocks = host.pages(), 0
    while host.pages() == before:
        host.call("malloc", 250)
        blocks += 1
    return blocks * 256


def lost(new_host: Callable[[], RawHost], work: Callable[[RawHost], None], repetitions: int) -> int:
    """The bytes that `work`, repeated, does not give back: one VM does it, another one does not."""
    rooms = []
    for count in (0, repetitions):
        host = new_host()
        work(host)
        use_up_free_blocks(host)
        pages = host.pages()
        for _ in range(count):
            work(host)
            del host.calls[:], host.log[:]
        assert host.pages() == pages
        rooms.append(room(host))
    return rooms[0] - rooms[1]


@pytest.mark.parametrize(("statement", "size"), REPEATED)
def test_no_call_leaks(new_host, statement, size):
    value = b"v" * size
    loop = f"for _ in range(400):\n    {statement}"

    def unused_allocation_first(map_type, key):
        host_of_call[-1].place(b"an allocation that is not used")
        return OK, value

    host_of_call: list[RawHost] = []

    def work(host: RawHost) -> None:
        host_of_call.append(host)
        host.answers = {
            "proxy_get_property": lambda _: (OK, value),
            "proxy_get_shared_data": lambda _: (OK, value, 1),
            "proxy_get_header_map_pairs": lambda _: (OK, b"\x01\0\0\0\x01\0\0\0\x01\0\0\0a\0b\0"),
            "proxy_get_header_map_value": unused_allocation_first,
        }
        host.run(loop)

    assert lost(new_host, work, repetitions=20) < 8 * LEAK_CALLS


def test_no_callback_leaks(new_host):
    """Also those that fail."""

    def work(host: RawHost) -> None:
        for context_id in range(1000, 1100):
            host.script = ""
            host.call("proxy_on_context_create", context_id, 1)
            host.script = "result = 2**70"
            host.call("proxy_on_request_headers", context_id, 70_000, 1)
            host.script = "raise SystemExit"
            host.call("proxy_on_response_headers", context_id, 70_000, 1)
            host.call("proxy_on_http_call_response", context_id, 70_000, 70_000, 70_000, 70_000)
            host.script = "p.detach(arguments[0])"
            host.call("proxy_on_delete", context_id)
        host.run("gc.collect()")

    assert lost(new_host, work, repetitions=40) < 8 * LEAK_CALLS // 2
