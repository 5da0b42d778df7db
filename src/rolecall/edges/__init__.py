"""Floor 2a: doors to the world. The only code that awaits something outside."""
