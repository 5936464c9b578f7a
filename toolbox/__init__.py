"""The restoration tasks and every expert that can do one of them."""
