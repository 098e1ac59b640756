"""Endpoints that are new or fail, at random: for the tests that compare the Lua with the Python."""

import random
from collections.abc import Sequence

from ai_load_balancer.policies.handicaps import NONE, Handicap, Handicaps


def random_handicaps(chance: random.Random, endpoints: Sequence[str]) -> Handicaps:
    """None half of the time. Capacities have the three decimals that the scripts are told."""
    if chance.random() < 0.5:
        return NONE
    return {
        endpoint: Handicap(chance.choice([0.1, 0.25, 0.333, 0.5, 1.0]), chance.choice([0, 0, 1, 2, 3, 9]))
        for endpoint in endpoints
        if chance.random() < 0.5
    }
