"""A discovered rule on tasks that its search has not seen: protocol, search space, and what came of it."""
