"""Restores every picture of a folder, by one worker or by many."""
