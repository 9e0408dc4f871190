"""A small checkpoint of the real architecture, the drawn world that it knows, and its trainer."""
