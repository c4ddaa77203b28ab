"""The only folder that imports ortools: the program, its rules and its goals."""
