"""What models are."""
