"""Training on Ray: the job that workers receive, one worker's epoch loop and step, and the trainer that runs them.

It knows nothing of configuration files or the command line: a `Job` goes in, messages come out.
"""
