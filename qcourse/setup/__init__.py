"""Environments, installs and pins: what the course needs on a machine and where each engine lives.

Standard library only: it runs before anything is installed.
"""
