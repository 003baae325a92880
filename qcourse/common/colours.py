"""One colour a method in every figure: those of Okabe and Ito, which colour-blind people tell apart.

Source: Okabe and Ito 2008, "Color Universal Design". Lines differ by dashes, points by markers as well.
"""

METHODS = {
    ("gptq", "gptaq"): "#D55E00",
    ("awq",): "#009E73",
    ("fp8", "e4m3", "e5m2", "fp4"): "#E69F00",
    ("nf4", "qlora", "bitsandbytes"): "#56B4E9",
    ("gguf", "q4_", "q8_", "q6_", "iq2", "iq3", "iq4"): "#000000",
    ("int8", "w8a8", "smooth"): "#CC79A7",
    ("rtn", "rounded", "rounding", "nearest"): "#0072B2",
    ("bf16", "fp32", "noise", "unquantized"): "#707070",
}
OTHERS = ("#22303c", "#9a6324", "#7f5aa2", "#3d8b8b", "#a05a5a", "#7b8a97")  # what is no method
MARKERS = ("o", "s", "^", "D", "v", "P")
DASHES = ("-", "--", "-.", ":")


def colour_of(name: str, index: int = 0) -> str:
    """Return the colour of the first method that a name speaks of, else the one of its place in a figure."""
    said = name.lower()
    found = (colour for words, colour in METHODS.items() if any(word in said for word in words))
    return next(found, OTHERS[index % len(OTHERS)])
