"""How good a translator is. Torch-free."""
