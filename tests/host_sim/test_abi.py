"""The tables of the ABI against its text."""

import re

from proxywasm._host import HostModule
from proxywasm.callbacks import CONTEXT_CALLBACKS

from host_sim.abi import CALLBACKS, HIGRESS_CALLS, HOST_CALLS, host_calls, parameter_types
from host_sim.calls import CALLS
from host_sim.native_module import NativeModule

# The ABI's own notation: `*x` is an out-pointer, a name that ends in n follows its pointer.
ABI_TEXT = """
proxy_log(level,msg,len)  proxy_get_log_level(*lvl)
proxy_get_current_time_nanoseconds(*u64)
proxy_set_tick_period_milliseconds(ms)  proxy_done()  proxy_set_effective_context(ctx)
proxy_get_buffer_bytes(buf,start,max,**data,*size)
proxy_set_buffer_bytes(buf,start,size,data,len)  proxy_get_buffer_status(buf,*size,*flags)
proxy_get_header_map_size(map,*size)  proxy_get_header_map_pairs(map,**d,*n)
proxy_set_header_map_pairs(map,d,n)  proxy_get_header_map_value(map,k,kn,**v,*vn)
proxy_add_header_map_value(map,k,kn,v,vn)  proxy_replace_header_map_value(map,k,kn,v,vn)
proxy_remove_header_map_value(map,k,kn)
proxy_continue_stream(stream)  proxy_close_stream(stream)  proxy_get_status(*code,**msg,*n)
proxy_send_local_response(code,details,dn,body,bn,headers,hn,grpc_status)
proxy_http_call(upstream,un,headers,hn,body,bn,trailers,tn,timeout_ms,*call_id)
proxy_grpc_call(upstream,un,service,sn,method,mn,init_md,in,msg,gn,timeout,*call_id)
proxy_grpc_stream(upstream,un,service,sn,method,mn,init_md,in,*stream_id)
proxy_grpc_send(id,msg,n,end_stream)  proxy_grpc_cancel(id)  proxy_grpc_close(id)
proxy_set_shared_data(k,kn,v,vn,cas)  proxy_get_shared_data(k,kn,**v,*vn,*cas)
proxy_register_shared_queue(name,n,*id)  proxy_resolve_shared_queue(vm,vn,name,n,*id)
proxy_enqueue_shared_queue(id,v,n)  proxy_dequeue_shared_queue(id,**v,*n)
proxy_define_metric(type,name,n,*id)  proxy_record_metric(id,i64)
proxy_increment_metric(id,i64)  proxy_get_metric(id,*u64)
proxy_get_property(path,n,**v,*vn)  proxy_set_property(path,n,v,vn)
proxy_call_foreign_function(name,n,args,an,**res,*rn)
proxy_redis_init(cluster,cn,username,un,password,pn,timeout_ms)
proxy_redis_call(cluster,cn,query,qn,*call_id)
proxy_get_upstream_hosts(**pairs,*n)
proxy_set_upstream_override_host(addr,n)
proxy_inject_encoded_data_to_filter_chain(body,n,end_stream)
"""


def test_signatures_have_the_parameters_of_the_abi():
    text = {
        name: ["i64" if parameter == "i64" else "i32" for parameter in parameters.split(",") if parameter]
        for name, parameters in re.findall(r"(proxy_\w+)\(([^)]*)\)", ABI_TEXT)
    }
    assert {name: parameter_types(signature) for name, signature in (HOST_CALLS | HIGRESS_CALLS).items()} == text


def test_out_pointers_are_those_of_the_abi():
    for name, parameters in re.findall(r"(proxy_\w+)\(([^)]*)\)", ABI_TEXT):
        outputs = (HOST_CALLS | HIGRESS_CALLS)[name].partition(":")[2]
        pointers = sum(2 if kind in "SP" else 1 for kind in outputs)
        assert pointers == sum(parameter.startswith("*") for parameter in parameters.split(",")), name


def test_every_host_call_is_implemented_and_offered():
    assert set(CALLS) == set(HOST_CALLS) | set(HIGRESS_CALLS)
    assert set(host_calls("envoy")) == set(HOST_CALLS)
    assert set(host_calls("higress")) == set(CALLS)


def test_the_callbacks_of_the_sdk_are_in_the_table():
    assert {f"proxy_{name}" for name in CONTEXT_CALLBACKS} <= set(CALLBACKS)


def test_the_native_module_offers_the_whole_interface():
    wanted = {name for name in vars(HostModule) if not name.startswith("_")}
    offered = {name for name in vars(NativeModule) if not name.startswith("_")}
    assert wanted == offered
