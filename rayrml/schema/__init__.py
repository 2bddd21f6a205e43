"""What a configuration and a network can choose from, for people and for editors.

It describes the sections and tables of other folders, and checks nothing itself.
"""
