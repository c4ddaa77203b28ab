"""The VRAM model: what occupies each GPU, part by part."""
