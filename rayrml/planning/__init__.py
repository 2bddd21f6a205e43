"""Everything that is checked before Ray starts work: from a configuration to a plan, or all mistakes at once.

Nothing is trained or written here; `runs` carries out what a plan says.
"""
