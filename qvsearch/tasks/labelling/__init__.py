"""Files under labels, by the labels' words or by examples.

`classify` does it by words, `examples` by a folder for each label. `writing` adds labels to `.xmp`
files beside pictures, and links files into a folder for each label.
"""
