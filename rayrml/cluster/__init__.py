"""Ray as a cluster: connecting to it, dividing it among workers, and submitting jobs to it.

The code that runs on it is elsewhere: training in `training`, decoding in `data`, predictions in `inference`.
"""
