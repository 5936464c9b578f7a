"""The code that made the shipped weights and tables: degradation synthesis, training, fits and evaluation."""
