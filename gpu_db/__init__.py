"""What machines are, and what they cost."""
