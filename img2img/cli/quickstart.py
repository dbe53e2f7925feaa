def quickstart() -> None:
    """."""
