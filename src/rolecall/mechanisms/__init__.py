"""Floor 2b: one room per generation of pod credentials; none knows another."""
