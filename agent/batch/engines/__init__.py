"""Who restores the pictures of a batch: this process, worker processes, or the actors of a Ray cluster."""
