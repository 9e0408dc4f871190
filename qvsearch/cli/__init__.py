"""The command line: each command parses its options, calls one function and shows the result.

`app.main` runs it. There is one file for each group of commands. They share `commands`, `options`,
`output`, `layout` and the records of `--json`. Only this package prints and exits, and no other
package imports it.
"""
