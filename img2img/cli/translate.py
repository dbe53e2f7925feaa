def translate() -> None:
    """."""
