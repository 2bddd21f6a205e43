"""One run from start to end: a plan is carried out on a part of a cluster, and what it came to is shown.

It puts the other folders together; how a step, a file or a cluster works is in theirs.
"""
