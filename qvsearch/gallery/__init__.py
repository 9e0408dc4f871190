"""Results as one HTML file with pictures inside, for `--html` and for a selection of the page.

`cards` turns hits, similar files and groups into cards; `page` writes cards as HTML.
"""
