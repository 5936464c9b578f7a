"""Images: pixels, files, colours, and running a network over them."""
