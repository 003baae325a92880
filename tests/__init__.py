"""Tests mirror the rooms of qcourse; helpers are imported as tests.<folder>.<module>."""
