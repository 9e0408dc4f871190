"""The server of `qvsearch serve`: a page, and the JSON interface that it uses.

`guard` decides who may ask, `app` lists the endpoints, and `serving` runs them. No endpoint has
search logic of its own: each calls one function elsewhere.
"""
