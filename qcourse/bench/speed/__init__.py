"""The parts of `make bench`: what is timed, against which peer or floor, and the bar of each row."""
