"""Measuring: what servers logged when they started, and how far the memory model was from it."""
