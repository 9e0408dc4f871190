"""Documents whose text is in a format of its own: Office, e-books, web pages, mail, notebooks.

Each reader takes an open file and returns its `Contents`. None of them runs a macro, follows a
link, or opens another file.
"""
