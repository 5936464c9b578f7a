"""Photos, degradation synthesis and training pairs."""
