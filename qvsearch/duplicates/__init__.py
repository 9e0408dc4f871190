"""Near-duplicates: the rule, the candidate pairs and the groups.

Neighbours use `groups.duplicate_groups`, `groups.fold` and `rule`.
"""
