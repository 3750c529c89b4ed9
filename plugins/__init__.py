"""The built-in plugins, reached through entry points like anybody else's."""
