"""Our quantized weights beside those of the libraries of the field: same model, tokens, bits and groups.

`make bench-quality` runs it. Each library's weights are read by our readers into one plain model in float32,
so that nothing but the rounding differs; activations are never quantized here.
"""
