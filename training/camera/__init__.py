"""Synthesis of photographs in the order in which light becomes a file: scene, lens, sensor, processing, storage."""
