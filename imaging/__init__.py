"""What an image is, its files, its colours, and how a network is run over it."""
