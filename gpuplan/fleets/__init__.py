"""Many services at once: what people write in a fleet file, the data it needs, and what explains its plan."""
