"""Many requests with everything going wrong, from one seed; then nothing goes wrong any more and all must be well.

    report = FaultRun(artifact("higress"), seed=7).play(requests=100_000)

The faults are in the modules *_chaos, the rules that must hold in `rules`, which look at the gateway and at Redis from
outside. `cases` are the policies and targets.
"""

from .rules import BrokenRule
from .run import FaultRun, Report

__all__ = ["BrokenRule", "FaultRun", "Report"]
