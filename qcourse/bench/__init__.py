"""Ours beside the peers: speed and memory against their bars, quality at the same bits, pico by bits.

python -m qcourse.bench.speed.run       # make bench
python -m qcourse.bench.quality.run     # make bench-quality
python -m qcourse.bench.pico_by_bits    # what bits cost each skill of pico, for its model card
"""
