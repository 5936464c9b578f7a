"""The MCP server and the command line: tools, resources, access control, jobs and the workspace of images."""
