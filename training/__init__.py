"""The recipes that made what ships: degradation synthesis, training, fits and evaluation."""
