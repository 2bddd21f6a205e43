"""One run from start to end: it executes a plan on a part of a cluster and shows the results.

It puts the other folders together; how a step, a file or a cluster works is explained there.
"""
