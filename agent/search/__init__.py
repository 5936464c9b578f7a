"""The search of a run through its steps: its state, the choice of the next step, and rollback."""
