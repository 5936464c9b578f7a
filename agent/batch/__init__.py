"""Restores every picture of a folder with one or more workers."""
