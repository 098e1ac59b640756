"""How long the filter's scripts keep a Redis server busy: `bench redis`.

The commands are those that the filter sends for requests in the simulator (`captured`); a real server runs them and
says itself how long that took (`measured`).
"""

from .cases import Case, cases
from .measured import FEW, MANY, Effort, ServerTime, server_times

__all__ = ["FEW", "MANY", "Case", "Effort", "ServerTime", "cases", "server_times"]
