"""The choices for a configuration and a network, for people and for editors.

It describes the sections and tables of other folders, and checks nothing itself.
"""
