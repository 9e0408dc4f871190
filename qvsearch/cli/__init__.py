"""The command line: each command parses, calls one function and shows what it returns.

`app.main` runs it; options, output and tables are shared. Only this package prints and exits.
"""
