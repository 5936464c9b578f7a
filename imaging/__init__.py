"""Images: pixels, files, colours, and tiled network inference."""
