"""The profile schema and one TOML file per predefined profile."""
