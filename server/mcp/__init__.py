"""The MCP server: tools, resources, prompts and the view."""
