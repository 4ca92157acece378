class CompressedLane:
    """The subscribers of a channel that one way of compressing serves."""

class CohortLane(CompressedLane):
    """Its members share one growing context."""

class Forms:
    """What only channels with compressed lanes have."""
