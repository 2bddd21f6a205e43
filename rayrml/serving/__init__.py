"""Predictions over HTTP: a network's replicas on Ray Serve, requests and answers, and the page for a browser.

What a replica computes is in `planning/` and `inference/`: a file's prediction is that of `rayrml predict`.
"""
