"""Takes hits along: as copies and links in a folder, as a playlist, as a timeline for an editor.

`folder.HitFolder` copies or links the files of hits, `names` makes names that are free,
`spans` has the moments of hits and writes playlists of them, `timeline` writes timelines.
"""
