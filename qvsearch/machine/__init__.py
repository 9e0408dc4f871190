"""This machine: what it has (`doctor`), how fast it is (`bench`), how long work takes."""
