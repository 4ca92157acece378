class Receipts:
    """The receipts of the last two minutes, by channel and idempotency key."""
