"""How fast: operations, step, serving under load, estimate."""
