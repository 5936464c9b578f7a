"""Classical experts, one module per task, and the algorithms that they share."""
