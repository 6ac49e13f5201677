"""Meta-training: the outer loop, its optimizers, and how its progress is kept."""
