# mypy: disable-error-code="arg-type, has-type, misc, name-defined, valid-type, var-annotated"
# The classes here subclass a copy of the SDK that is imported at run time, which mypy cannot see.
"""Which callbacks reach Python, and how contexts come and go."""

import json

import pytest
from proxywasm.callbacks import CONTEXT_CALLBACKS


def bits(*names):
    return sum(1 << CONTEXT_CALLBACKS.index(name) for name in names)


def make_plugin(sdk):
    class Request(sdk.HttpContext):
        def on_request_headers(self, num_headers, end_of_stream):
            return 1

        def on_response_body(self, body_size, end_of_stream):
            return None

    class Root(sdk.RootContext):
        http_context = Request

        def on_tick(self):
            pass

    return Root, Request


def test_a_callback_is_wanted_if_and_only_if_it_is_overridden(sdk):
    root, request = make_plugin(sdk)
    assert sdk.contexts.wanted_callbacks(request) == bits("on_request_headers", "on_response_body")
    assert sdk.contexts.wanted_callbacks(root) == bits("on_tick")
    assert sdk.contexts.wanted_callbacks(sdk.HttpContext) == 0


def test_a_subclass_of_a_measured_class_is_measured_by_itself(sdk):
    _, request = make_plugin(sdk)
    sdk.contexts.wanted_callbacks(request)

    class More(request):
        def on_log(self):
            pass

    assert sdk.contexts.wanted_callbacks(More) == bits("on_request_headers", "on_response_body", "on_log")


def test_every_context_callback_of_the_abi_is_a_method_of_a_context(sdk):
    for name in CONTEXT_CALLBACKS:
        kinds = [kind for kind in (sdk.RootContext, sdk.HttpContext, sdk.StreamContext) if hasattr(kind, name)]
        assert kinds, name
        assert all(getattr(kind, name).__doc__ for kind in kinds), name


def test_the_life_of_a_stream(sdk, host):
    root, request = make_plugin(sdk)
    sdk.vm.start(root, "higress")
    host.call("on_context_create", 1, 0)
    host.call("on_context_create", 2, 1)
    context = host.attached[2]
    assert isinstance(context, request)
    assert context.root.context_id == 1
    assert host.wanted[2] == bits("on_request_headers", "on_response_body")
    assert host.call("on_request_headers", 2, 5, True) == 1

    context.want_no_more("on_request_headers")
    assert host.wanted[2] == bits("on_response_body")
    host.call("on_context_create", 3, 1)
    assert host.wanted[3] == bits("on_request_headers", "on_response_body")  # another stream's mask is its own

    host.call("on_delete", 2)
    assert context.is_deleted
    assert 2 not in host.attached
    assert 2 not in host.dispatcher.contexts


def test_a_context_may_hand_over_its_stream(sdk, host):
    class Successor(sdk.HttpContext):
        def on_response_headers(self, num_headers, end_of_stream):
            return 1

    root, request = make_plugin(sdk)
    root.further_contexts = (Successor,)
    sdk.vm.start(root, "envoy")
    host.call("on_context_create", 1, 0)
    host.call("on_context_create", 2, 1)
    first = host.attached[2]
    assert isinstance(first, request)
    successor = Successor(2, first.root)
    first.hand_over(successor)
    assert host.attached[2] is successor
    assert host.wanted[2] == bits("on_response_headers")
    assert first.is_deleted  # replies to its calls go to their orphan callbacks

    host.call("on_delete", 2)
    assert successor.is_deleted
    assert 2 not in host.attached


def test_want_no_more_refuses_a_name_that_is_no_callback(sdk):
    with pytest.raises(KeyError):
        sdk.HttpContext(2, None).want_no_more("on_lunch")


def test_http_comes_before_stream_and_without_both_nothing_is_attached(sdk, host):
    class Root(sdk.RootContext):
        pass

    sdk.vm.start(Root, "envoy")
    host.call("on_context_create", 1, 0)
    host.call("on_context_create", 2, 1)
    assert list(host.attached) == [1]

    root = host.dispatcher.contexts[1]
    root.stream_context = sdk.StreamContext
    host.call("on_context_create", 3, 1)
    assert type(host.attached[3]) is sdk.StreamContext
    root.http_context = sdk.HttpContext
    host.call("on_context_create", 4, 1)
    assert type(host.attached[4]) is sdk.HttpContext


def test_several_roots_each_with_their_streams(sdk, host):
    root, _ = make_plugin(sdk)
    sdk.vm.start(root, "envoy")
    for context_id, parent_id in [(1, 0), (2, 0), (3, 2)]:
        host.call("on_context_create", context_id, parent_id)
    assert host.attached[3].root is host.dispatcher.contexts[2]


@pytest.mark.parametrize("target", ["higress", "envoy"])
def test_the_manifest_names_what_the_module_must_export(sdk, host, target):
    root, _ = make_plugin(sdk)

    class Further(sdk.StreamContext):
        def on_upstream_data(self, data_size, end_of_stream):
            return None

    root.further_contexts = (Further,)
    sdk.vm.start(root, target)
    manifest = json.loads(host.manifest)
    assert manifest["plugin"] == f"{__name__}:make_plugin.<locals>.Root"
    assert manifest["target"] == target
    assert set(manifest["modules"]) >= {"proxywasm.vm", "json"}
    redis = {"proxy_on_redis_call_response"} if target == "higress" else set()
    assert manifest["exports"] == sorted(
        redis
        | {
            "proxy_on_configure",
            "proxy_on_context_create",
            "proxy_on_delete",
            "proxy_on_grpc_close",
            "proxy_on_grpc_receive",
            "proxy_on_grpc_receive_initial_metadata",
            "proxy_on_grpc_receive_trailing_metadata",
            "proxy_on_http_call_response",
            "proxy_on_request_headers",
            "proxy_on_response_body",
            "proxy_on_tick",
            "proxy_on_upstream_data",
            "proxy_on_vm_start",
        }
    )


def test_an_unknown_target_is_refused(sdk):
    with pytest.raises(ValueError, match="unknown target 'nginx': expected one of envoy, higress"):
        sdk.vm.start(sdk.RootContext, "nginx")


def test_importing_and_starting_make_no_host_call(sdk, host):
    sdk.vm.start(make_plugin(sdk)[0], "higress")
    assert host.calls == []


def test_the_random_generator_is_seeded_with_the_first_root_and_only_then(sdk, host, monkeypatch):
    seeds = []
    monkeypatch.setattr("random.seed", lambda *arguments: seeds.append(arguments))
    sdk.vm.start(sdk.RootContext, "envoy")
    assert seeds == []
    host.call("on_context_create", 1, 0)
    host.call("on_context_create", 2, 0)
    assert seeds == [()]


def test_a_root_acts_on_a_stream_by_making_it_current(sdk, host):
    class Request(sdk.HttpContext):
        pass

    class Root(sdk.RootContext):
        http_context = Request

        def on_tick(self):
            for context_id in (3, 2):
                sdk.contexts.live[context_id].make_current()
                sdk.continue_request()

    sdk.vm.start(Root, "higress")
    host.call("on_context_create", 1, 0)
    host.call("on_context_create", 2, 1)
    host.call("on_context_create", 3, 1)
    host.call("on_tick", 1)
    names = ("set_effective_context", "continue_stream")
    assert [call[:2] for call in host.calls if call[0] in names] == [
        ("set_effective_context", 3),
        ("continue_stream", 0),
        ("set_effective_context", 2),
        ("continue_stream", 0),
    ]
