"""The profile schema, and a TOML file for each predefined profile."""
