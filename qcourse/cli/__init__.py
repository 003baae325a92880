"""The command line: one thin module a command; each calls one function of the rooms."""

from qcourse.cli.app import app, main

__all__ = ["app", "main"]
