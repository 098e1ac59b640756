"""The codecs of the C extension, in the guest itself: what is checked is in guest/codec_checks.py."""

import json
import random

from .guest_build import build_guest, read_manifest


def test_codecs_in_the_guest():
    seed = random.SystemRandom().randrange(2**32)
    print(f"seed {seed}")
    component = build_guest("codec_checks", SEED=seed)  # fails with the traceback of a failing check
    assert json.loads(read_manifest(component))["checks"] > 2000
