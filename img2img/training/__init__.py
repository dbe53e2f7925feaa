"""Training: a step (trainer), a run (loop), and the modules that these use."""
