# mypy: disable-error-code="arg-type, has-type, misc, name-defined, valid-type, var-annotated"
# The classes here subclass a copy of the SDK that is imported at run time, which mypy cannot see.
"""Redis by callback: what is sent, who gets the reply, what happens when the host or Redis refuses."""

import pytest

from host_sim import codec

CLUSTER = "outbound|6379||redis.static"
NOW_NS = 5_000_000_000


class Redis:
    """A started VM with one root (1), one stream (2) and a client, and the host's side of its calls."""

    def __init__(self, sdk, host):
        class Root(sdk.RootContext):
            http_context = sdk.HttpContext

        self.sdk, self.host = sdk, host
        sdk.vm.start(Root, "higress")
        host.call("on_context_create", 1, 0)
        host.call("on_context_create", 2, 1)
        self.root, self.stream = host.dispatcher.contexts[1], host.dispatcher.contexts[2]
        self.call_ids = iter(range(3, 1000, 4))
        host.answers["redis_call"] = lambda cluster, query: next(self.call_ids)
        host.answers["get_current_time_nanoseconds"] = lambda: self.now_ns
        self.now_ns = NOW_NS
        self.client = sdk.RedisClient(CLUSTER, "user", "secret", 700, 2)
        self.client.init()
        self.replies = []

    def sent(self):
        return [codec.decode_reply(query) for _, query in self.host.named("redis_call")]

    def reply(self, call_id, data, status=0):
        self.host.answers["get_buffer_bytes"] = data
        self.host.call("on_redis_call_response", 1, call_id, status, len(data or b""))

    def dropped(self):
        return self.host.named("define_metric").count((0, "proxywasm_dropped_replies"))


@pytest.fixture
def redis(sdk, host):
    return Redis(sdk, host)


def test_init_names_database_and_switches_buffering_off(redis, host):
    expected = f"{CLUSTER}?db=2&buffer_flush_timeout=0&max_buffer_size_before_flush=0"
    assert host.named("redis_init") == [(expected, "user", "secret", 700)]
    assert "secret" not in repr(redis.client)


def test_a_reply_goes_to_its_callback_with_its_context_restored(redis, host):
    call_id = redis.client.call(redis.stream, ("GET", "key"), redis.replies.append)
    assert redis.sent() == [[b"GET", b"key"]]
    assert host.named("redis_call")[0][0] == CLUSTER
    host.calls.clear()
    redis.reply(call_id, b"$5\r\nvalue\r\n")
    assert redis.replies == [b"value"]
    assert host.calls == [("get_buffer_bytes", 9, 0, 11), ("set_effective_context", 2)]


def test_replies_out_of_order_find_their_callbacks(redis):
    ids = [
        redis.client.call(redis.stream, ("GET", str(i)), lambda v, i=i: redis.replies.append((i, v))) for i in (0, 1)
    ]
    redis.reply(ids[1], b":11\r\n")
    redis.reply(ids[0], b":10\r\n")
    assert redis.replies == [(1, 11), (0, 10)]


def test_a_call_of_the_root_needs_no_other_context(redis, host):
    redis.reply(redis.client.call(redis.root, ("PING",), redis.replies.append), b"+PONG\r\n")
    assert redis.replies == [b"PONG"]
    assert host.named("set_effective_context") == []


@pytest.mark.parametrize(
    ("data", "status", "kind", "text"),
    [
        (None, 1, "RedisUnreachable", f"{CLUSTER}: no reply"),
        (b"-ERR no such thing\r\n", 0, "RedisReplyError", "ERR no such thing"),
    ],
)
def test_what_went_wrong_arrives_as_a_value(redis, data, status, kind, text):
    redis.reply(redis.client.call(redis.stream, ("GET", "key"), redis.replies.append), data, status)
    (value,) = redis.replies
    assert type(value) is getattr(redis.sdk, kind)
    assert str(value).startswith(text)


@pytest.mark.parametrize(
    "garbage", [b"", b"HTTP/1.1 200 OK\r\n\r\n", b"$5\r\nval", b":1\r\n:2\r\n", b"*1000000000\r\n"]
)
def test_garbage_arrives_as_a_protocol_error(redis, garbage):
    redis.reply(redis.client.call(redis.stream, ("GET", "key"), redis.replies.append), garbage)
    (value,) = redis.replies
    assert type(value) is redis.sdk.RedisProtocolError


def test_a_reply_for_a_context_that_is_gone_is_dropped_and_counted(redis, host):
    call_id = redis.client.call(redis.stream, ("GET", "key"), redis.replies.append)
    host.call("on_delete", 2)
    redis.reply(call_id, b":1\r\n")
    assert redis.replies == []
    assert redis.dropped() == 1
    assert host.named("set_effective_context") == []


def test_an_orphan_callback_gets_the_reply_with_the_root_as_current_context(redis, host):
    orphans = []
    call_id = redis.client.call(redis.stream, ("GET", "key"), redis.replies.append, orphans.append)
    host.call("on_delete", 2)
    redis.reply(call_id, b":1\r\n")
    assert (redis.replies, orphans) == ([], [1])
    assert host.named("set_effective_context") == []
    assert redis.dropped() == 0


def test_a_reply_to_no_call_is_counted(redis):
    redis.reply(999, b":1\r\n")
    redis.reply(redis.client.call(redis.stream, ("GET", "key"), redis.replies.append), b":1\r\n")
    assert redis.dropped() == 1
    assert redis.replies == [1]


def test_a_second_reply_to_the_same_call_is_not_delivered(redis):
    call_id = redis.client.call(redis.stream, ("GET", "key"), redis.replies.append)
    redis.reply(call_id, b":1\r\n")
    redis.reply(call_id, b":2\r\n")
    assert redis.replies == [1]


def test_an_exception_in_a_callback_is_guarded(redis, host):
    redis.reply(redis.client.call(redis.stream, ("GET", "key"), lambda value: 1 / 0), b":1\r\n")
    assert "ZeroDivisionError" in host.named("log")[0][1]


def test_a_script_goes_by_sha_and_by_source_if_redis_does_not_know_it(redis):
    script = redis.sdk.RedisScript("one", "return 1", 1)
    call_id = redis.client.call(redis.stream, (*script.by_sha, "key", "argument"), redis.replies.append, script=script)
    redis.reply(call_id, b"-NOSCRIPT No matching script.\r\n")
    assert redis.replies == []
    assert redis.sent() == [
        [b"EVALSHA", b"e0e1f9fabfc9d4800c877a703b823ac0578ff8db", b"1", b"key", b"argument"],
        [b"EVAL", b"return 1", b"1", b"key", b"argument"],
    ]
    redis.reply(call_id + 4, b":1\r\n")
    assert redis.replies == [1]


def test_a_redis_that_never_knows_a_script_does_not_cause_a_loop(redis):
    script = redis.sdk.RedisScript("x", "", 0)
    call_id = redis.client.call(redis.stream, script.by_sha, redis.replies.append, script=script)
    redis.reply(call_id, b"-NOSCRIPT\r\n")
    redis.reply(call_id + 4, b"-NOSCRIPT\r\n")
    assert len(redis.sent()) == 2
    assert isinstance(redis.replies[0], redis.sdk.RedisReplyError)


def test_a_script_is_not_sent_again_for_a_context_that_is_gone(redis, host):
    orphans = []
    script = redis.sdk.RedisScript("x", "", 0)
    call_id = redis.client.call(redis.stream, script.by_sha, redis.replies.append, orphans.append, script)
    host.call("on_delete", 2)
    redis.reply(call_id, b"-NOSCRIPT\r\n")
    assert len(redis.sent()) == 1
    assert isinstance(orphans[0], redis.sdk.RedisReplyError)


def test_when_the_second_sending_fails_the_callback_hears_of_it(redis, host):
    script = redis.sdk.RedisScript("x", "", 0)
    call_id = redis.client.call(redis.stream, script.by_sha, redis.replies.append, script=script)
    host.answers["redis_call"] = redis.sdk.errors.host_error("proxy_redis_call", 10)
    redis.reply(call_id, b"-NOSCRIPT\r\n")
    assert isinstance(redis.replies[0], redis.sdk.RedisUnreachable)


def test_the_failure_of_a_call_without_a_callback_is_logged(redis, host):
    host.call("on_configure", 1, 0)
    redis.reply(redis.client.call(redis.root, ("DEL", "key")), b"-ERR no\r\n")
    assert host.named("log") == [(2, "Redis, DEL: ERR no")]


def test_a_refused_call_raises_and_no_callback_follows(redis, host):
    host.answers["redis_call"] = redis.sdk.errors.host_error("proxy_redis_call", 10)
    with pytest.raises(redis.sdk.RedisUnreachable, match=r"redis.static: proxy_redis_call: .*INTERNAL_FAILURE"):
        redis.client.call(redis.stream, ("GET", "key"), redis.replies.append)
    assert redis.sdk.redis_client._calls == {}

    redis.now_ns += 1_000_000_000
    host.answers["redis_call"] = lambda cluster, query: next(redis.call_ids)
    redis.client.call(redis.stream, ("GET", "key"), redis.replies.append)
    assert len(host.named("redis_init")) == 2


def test_a_refused_client_initialises_itself_again_but_not_at_once(redis, host):
    host.answers["redis_init"] = redis.sdk.errors.host_error("proxy_redis_init", 2)
    client = redis.sdk.RedisClient(CLUSTER)
    with pytest.raises(redis.sdk.RedisUnreachable, match="BAD_ARGUMENT"):
        client.init()
    inits = len(host.named("redis_init"))
    with pytest.raises(redis.sdk.RedisUnreachable, match="less than 1000 ms ago"):
        client.call(redis.stream, ("PING",))
    assert len(host.named("redis_init")) == inits

    redis.now_ns += 1_000_000_000
    host.answers["redis_init"] = None
    client.call(redis.stream, ("PING",))
    client.call(redis.stream, ("PING",))
    assert len(host.named("redis_init")) == inits + 1
    assert len(redis.sent()) == 2


def test_a_redis_that_wants_a_login_is_initialised_again(redis, host):
    redis.now_ns += 1_000_000_000
    redis.reply(
        redis.client.call(redis.stream, ("PING",), redis.replies.append), b"-NOAUTH Authentication required.\r\n"
    )
    redis.client.call(redis.stream, ("PING",))
    assert len(host.named("redis_init")) == 2


def test_no_reply_does_not_initialise_again(redis, host):
    redis.now_ns += 1_000_000_000
    redis.reply(redis.client.call(redis.stream, ("PING",), redis.replies.append), None, status=1)
    redis.client.call(redis.stream, ("PING",))
    assert len(host.named("redis_init")) == 1


def test_pending_calls_are_bounded_and_those_of_deleted_contexts_make_room(redis, host, monkeypatch):
    monkeypatch.setattr(redis.sdk._pending, "MAX_PENDING_CALLS", 2)
    redis.client.call(redis.stream, ("PING",))
    redis.client.call(redis.root, ("PING",))
    with pytest.raises(redis.sdk.RedisUnreachable, match="2 calls are waiting"):
        redis.client.call(redis.root, ("PING",))
    assert len(redis.sent()) == 2
    host.call("on_delete", 2)
    redis.client.call(redis.root, ("PING",))
    assert len(redis.sent()) == 3
