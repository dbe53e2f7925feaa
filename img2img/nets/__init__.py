"""Networks of the papers, without losses. State-dict keys are those of the published checkpoints."""
