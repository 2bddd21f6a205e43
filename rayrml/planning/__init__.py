"""Everything that is checked before Ray works: from a configuration to a plan, with all mistakes at once.

Nothing is trained or written here; `runs` carries out what a plan says.
"""
