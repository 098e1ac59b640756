"""What can go wrong in a build. Each message says what was expected, what was found and what to do."""


class BuildError(Exception):
    """A build cannot go on; the command prints the message without a traceback of ours."""
