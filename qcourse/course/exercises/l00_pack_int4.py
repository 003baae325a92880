"""Exercise 00.pack_int4: eight 4-bit codes in one 32-bit word."""

import torch
from torch import Tensor

from qcourse.course.check import Exercise, slips


def cases() -> list[tuple]:
    """Return (codes [8 * n],), integers from 0 to 15: one word that reads in order, then random ones."""
    draw = torch.Generator().manual_seed(0)
    return [(torch.arange(8),), (torch.full((8,), 9),), (torch.randint(16, (32,), generator=draw),)]


def packed(
    codes: Tensor, order: tuple[int, ...] = tuple(range(8)), width: int = 4, sum_: bool = False
) -> Tensor:
    """Put code i of each eight at `width * order[i]` bits from the lowest, as int64 [n]."""
    words = []
    for start in range(0, len(codes), 8):
        eight = [int(code) for code in codes[start : start + 8]]
        words.append(
            sum(eight) if sum_ else sum(c << width * place for c, place in zip(eight, order, strict=True))
        )
    return torch.tensor(words)


def signed(codes: Tensor) -> Tensor:
    """The codes are stored as they are, 0 to 15: nothing is subtracted first."""
    return packed((codes - 8) & 15)


def interleaved(codes: Tensor) -> Tensor:
    """That is the order of AWQ's files; here the codes keep theirs."""
    return packed(codes, (0, 4, 1, 5, 2, 6, 3, 7))


def highest_first(codes: Tensor) -> Tensor:
    """The first code belongs into the lowest four bits, as in GPTQ's files; yours lies in the highest."""
    return packed(codes, order=tuple(range(7, -1, -1)))


def bytes_each(codes: Tensor) -> Tensor:
    """You shift by eight bits a code: that is a byte each. A 4-bit code moves by 4 * i."""
    return packed(codes, width=8)


def summed(codes: Tensor) -> Tensor:
    """Code i must be moved up by 4 * i bits before it is added."""
    return packed(codes, sum_=True)


SLIPS = (
    *slips("A code needs four bits of its own: yours lie one bit apart and overlap.",
           one_bit_apart=lambda codes: packed(codes, width=1)),
    *slips("Yours lie two bits apart: moving up by four bits multiplies by 16, not by 4.",
           powers_of_four=lambda codes: packed(codes, width=2)),
    *slips("A shift by n bits multiplies by 2**n, not by n.",
           multiplied_by_the_shift=lambda codes: (codes.reshape(-1, 8) * 4 * torch.arange(8)).sum(1)),
    *slips("A shift to the right drops bits: codes move up, to the left.",
           right_shift=lambda codes: (codes.reshape(-1, 8) >> 4 * torch.arange(8)).sum(1)),
    *slips("The last code reaches the sign bit of a 32-bit integer: return int64.",
           int32=lambda codes: packed(codes).to(torch.int32)),
    *slips("The shift ran in 8 bits, and what lies above is lost: make the codes int64 first.",
           eight_bits_wide=lambda codes: packed((codes.reshape(-1, 8) * torch.tensor([1, 1, 0, 0, 0, 0, 0,
               0])).flatten()) % 256),
    *slips("You add one code of every word: add the eight codes of each row.",
           over_the_words=lambda codes: (codes.reshape(-1, 8) << 4 * torch.arange(8)).sum(0)),
    *slips("Eight neighbours share a word: make rows of eight, not eight rows.",
           columns=lambda codes: packed(codes.reshape(8, -1).T.flatten())),
    *slips("Those are bytes of two codes each; a word holds eight.",
           bytes_of_two_codes=lambda codes: codes[0::2] | codes[1::2] << 4),
    *slips("The codes are stored as they are, 0 to 15: nothing is subtracted first.",
           signed_without_mask=lambda codes: packed(codes - 8)),
)  # fmt: skip

EXERCISE = Exercise(
    cases, packed,
    (highest_first, bytes_each, summed, signed, interleaved, *SLIPS),
    praise="Eight codes to a word: half a byte a weight, which is what makes the file small.", tolerance=0
)  # fmt: skip
