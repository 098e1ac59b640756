"""The codecs of the C extension, in the guest itself: what is checked is in guest/codec_checks.py."""

import random
import re

from .guest_build import build_guest


def test_codecs_in_the_guest():
    seed = random.SystemRandom().randrange(2**32)
    print(f"seed {seed}")
    component = build_guest("codec_checks", SEED=seed)  # fails with the traceback of a failing check
    tally = re.search(rb"codec checks made: (\d+);", component)
    assert tally is not None
    assert int(tally[1]) > 4000
