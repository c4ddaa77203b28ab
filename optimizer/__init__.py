"""What to buy: how much memory, how fast, which machines and how many."""
