"""What a run shows and writes: the screen, log files, history, plots, and figures for dashboards and trackers.

It receives the messages of `messages` and computes nothing that training depends on.
"""
