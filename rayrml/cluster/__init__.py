"""Ray as a cluster: connecting to it, dividing it among workers, and sending jobs to it.

What runs on it is elsewhere: training in `training`, decoding in `data`, predictions in `inference`.
"""
