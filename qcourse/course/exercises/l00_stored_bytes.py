"""Exercise 00.stored_bytes: what a quantized model takes on disk and in memory."""

from qcourse.course.check import Exercise, slips


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


SLIPS = (
    *slips("A kept weight has 16 bits: two bytes, not four.",
           kept_in_four_bytes=lambda quantized, kept, bits, size: quantized * (bits + 16 / size)
               / 8 + kept * 4),
    *slips("Two bytes a kept weight are bytes already: only bits are divided by 8.",
           kept_bytes_divided=lambda quantized, kept, bits, size: (quantized * (bits + 16
               / size) + kept * 2) / 8),
    *slips("Your kept weights are counted in bits, the others in bytes.",
           kept_in_bits=lambda quantized, kept, bits, size: quantized * (bits + 16 / size) / 8 + kept * 16),
    *slips("The weights that stay in 16 bits take room as well: `kept` of them.",
           kept_left_out=lambda quantized, kept, bits, size: quantized * (bits + 16 / size) / 8),
    *slips("Kept weights are not rounded, so they have no scale.",
           kept_with_scales=lambda quantized, kept, bits, size: (quantized * bits + (quantized + kept)
               / size * 16 + kept * 16) / 8),
    *slips("A scale takes 16 bits here, not 32.",
           scale_of_32_bits=lambda quantized, kept, bits, size: quantized * (bits + 32 / size)
               / 8 + kept * 2),
    *slips("A scale takes two bytes: count it in the unit in which you count the codes.",
           scale_of_two_bits=lambda quantized, kept, bits, size: quantized * (bits + 2 / size)
               / 8 + kept * 2),
    *slips("Your scales are counted in bits, the rest in bytes.",
           scale_in_bits=lambda quantized, kept, bits, size: quantized * bits / 8 + quantized
               / size * 16 + kept * 2),
    *slips("Every group has its own scale; yours counts one for the whole model.",
           one_scale=lambda quantized, kept, bits, size: quantized * bits / 8 + 2 + kept * 2),
    *slips("A group stores its scale and nothing else here: no zero point.",
           zero_points=lambda quantized, kept, bits, size: quantized * (bits + (16 + bits) / size)
               / 8 + kept * 2),
    *slips("The weights of a group share one scale: each carries a part of it, not a multiple.",
           scale_times_the_group=lambda quantized, kept, bits, size: quantized * (bits + 16 * size)
               / 8 + kept * 2),
    *slips("Codes are packed without gaps: one takes `bits` bits, not a byte.",
           a_byte_a_code=lambda quantized, kept, bits, size: quantized * (8 + 16 / size) / 8 + kept * 2),
)  # fmt: skip

EXERCISE = Exercise(
    cases, reference,
    (plain_product, no_scales, everything_quantized, in_bits, scale_per_weight, *SLIPS),
    praise="Codes, scales and what stays in 16 bits: this is the file that you will see, to about 2%."
)  # fmt: skip
