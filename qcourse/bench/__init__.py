"""Ours beside the peers: speed and memory against their bars, quality at the same bits, pico by bits."""
