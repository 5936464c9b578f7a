"""One module per metric, each with a pure function and its `METRIC`."""
