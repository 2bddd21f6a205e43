"""Training on Ray: the job that workers get, the loop and step of one worker, and the trainer around all of them.

It knows no configuration files and no command line: what to do comes as a `Job`, what happened leaves as messages.
"""
