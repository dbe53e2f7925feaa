from bundles import attributes, bundle, classes, invert, joint, noise, save  # noqa: F401
