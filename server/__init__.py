"""The door: the MCP server and the command line."""
