"""Searches over configurations: many runs, the values that each of them gets, and the best of them.

`runs` has a single run; this folder starts runs, compares their figures and stops them.
"""
