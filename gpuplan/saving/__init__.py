"""A plan on disk and a question in a link: what they hold, and how they are read back from anybody's hands."""
