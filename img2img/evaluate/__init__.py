"""How good a translator is."""
