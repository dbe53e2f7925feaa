"""Training: one step (trainer), the whole run (loop), and what they stand on."""
