"""Reasoners: the built-in rules, a calling agent, or a vision-language model."""
