"""One configuration, nothing chosen: what it needs of each GPU's memory, how fast it is, and what would mend it."""
