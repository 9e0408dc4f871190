"""The records of `--json`, which the page of `serve` and the tools of `mcp` use too.

Each function turns a result into a dictionary; its docstring describes the fields, from which
`docs/json.md` is generated. The faces (`cli`, `web`, `mcp`) import these; nothing here prints.
"""
