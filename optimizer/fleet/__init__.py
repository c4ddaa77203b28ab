"""Many services that compete for the same machines: one integer program, its engines, a certificate per answer."""
