"""The door: MCP tools and resources, the command line, access control, jobs and the workspace of images."""
