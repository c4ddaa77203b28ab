"""One command, one file: `COMMAND` says what may be typed, `run(asked)` does it."""
