"""Searches over configurations: many runs, the values that each of them gets, and the best of them.

One run is in `runs`; this folder starts it, compares its figures and stops it.
"""
