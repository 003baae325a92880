"""One file an exercise: l06_feed_back.py holds `EXERCISE`, found under the id "06.feed_back".

The docstring of a wrong function is the hint that a learner who wrote it reads.
"""
