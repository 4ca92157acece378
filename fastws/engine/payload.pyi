class Encoded:
    """A message, and what it becomes on the wire. Internal."""

    def __init__(self, message: object) -> None: ...
