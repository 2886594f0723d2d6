"""Real traffic of others as tool outputs, one module a format."""
