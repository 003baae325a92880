"""Exercise 00.stored_bytes: what a quantized model takes on disk and in memory."""

from qcourse.course.check import Exercise


def cases() -> list[tuple]:
    """Return (quantized weights, kept weights, bits, group size): a toy, then 8B-like and 7B-like shapes."""
    return [
        (256, 0, 4, 128),
        (256, 64, 4, 128),
        (1024, 128, 3, 32),
        (6_979_321_856, 1_050_673_152, 4, 128),
        (6_476_005_376, 262_410_240, 8, 64),
    ]


def reference(quantized: int, kept: int, bits: int, group_size: int) -> float:
    """Count bits one kind at a time: codes, one 16-bit scale a group, two bytes for each kept weight."""
    code_bits = quantized * bits
    scale_bits = quantized // group_size * 16
    return (code_bits + scale_bits + kept * 16) / 8


def no_scales(quantized: int, kept: int, bits: int, group_size: int) -> float:
    """Each group of `group_size` weights stores a scale in 16 bits: add 16 / group_size a weight."""
    return quantized * bits / 8 + kept * 2


def everything_quantized(quantized: int, kept: int, bits: int, group_size: int) -> float:
    """Embeddings, norms and usually the head are not quantized: `kept` weights take 2 bytes each."""
    return (quantized + kept) * (bits + 16 / group_size) / 8


def plain_product(quantized: int, kept: int, bits: int, group_size: int) -> float:
    """That is the figure of the headlines. Two things are missing: a 16-bit scale for each group, and the
    weights that stay in 16 bits.
    """
    return (quantized + kept) * bits / 8


def in_bits(quantized: int, kept: int, bits: int, group_size: int) -> float:
    """Right in bits; the answer is asked in bytes: divide by 8."""
    return 8 * reference(quantized, kept, bits, group_size)


def scale_per_weight(quantized: int, kept: int, bits: int, group_size: int) -> float:
    """A group of `group_size` weights shares one scale."""
    return quantized * (bits + 16) / 8 + kept * 2


EXERCISE = Exercise(
    cases, reference, (plain_product, no_scales, everything_quantized, in_bits, scale_per_weight),
    praise="Codes, scales and what stays in 16 bits: this is the file that you will see, to about 2%."
)  # fmt: skip
