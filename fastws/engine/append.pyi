"""Internal: nothing for Python in here."""
