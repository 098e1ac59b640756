"""What requests cost in the guest, in wasm instructions: wasmtime's fuel, the same on every machine.

    for cost in costs(["higress/prefix_cache/*"]):
        print(cost.name, cost.instructions, cost.ratio, cost.misses)

The cases are in `cases`, their prompts in `chats`; `run` plays them, `host_calls` looks at one callback at a time.
"""

from .measured import CHUNK_LIMIT, Cost
from .run import MANY, Effort, case_names, costs

__all__ = ["CHUNK_LIMIT", "MANY", "Cost", "Effort", "case_names", "costs"]
