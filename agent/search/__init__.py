"""The way of a run through its steps: where it stands, what comes next, what follows a failure."""
