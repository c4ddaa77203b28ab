"""One model family, one file: `MODEL_TYPES` and `read(config)`."""
