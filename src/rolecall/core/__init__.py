"""Floor 1: the rules. Pure values and functions, without clock, socket, file, environment or logger."""
