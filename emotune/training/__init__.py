"""The training loop, its execution plan, its optimiser and its checkpoints."""
