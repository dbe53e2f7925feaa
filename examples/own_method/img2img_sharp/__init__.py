"""A package that adds one row to each of img2img's tables; pyproject.toml names them."""
