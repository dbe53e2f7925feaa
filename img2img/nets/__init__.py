"""Networks of the papers, without losses; state-dict keys as in the published checkpoints."""
