"""What turns decisions of policies into host calls: one driver per policy configuration, one context per request."""

from .driver import Driver
from .make import CONTEXT_CLASSES, make_driver

__all__ = ["CONTEXT_CLASSES", "Driver", "make_driver"]
