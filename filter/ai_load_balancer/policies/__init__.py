"""Routing policies as pure functions: they get what is known and return what to do. They never call the host."""
