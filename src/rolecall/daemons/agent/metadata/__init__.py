"""The metadata door in the agent: who asks at 169.254.169.254, and the corridor to the role's credentials."""
