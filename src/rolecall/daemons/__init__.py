"""Floor 3: processes. Wiring only."""
