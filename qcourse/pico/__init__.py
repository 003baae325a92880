"""How the default model is made: its text, tokenizer, curriculum and training run, questions and card.

python -m qcourse.pico.train      # trains pico-2, or goes on with a run that was interrupted
"""
