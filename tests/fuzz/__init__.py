"""The fronts at which strangers' files and requests arrive, and what is sent there."""
