"""The drawn world, two small checkpoints of the real architecture that know it, and a show."""
