"""From JSON, YAML or TOML to a checked configuration: sections, tables, search spaces, and the line of each mistake.

Whether files exist, shapes fit or a cluster suffices is checked in `planning`; nothing here imports torch or Ray.
"""
