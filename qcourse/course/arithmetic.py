"""Claims that arithmetic settles: one function a figure, with its inputs in sight.

Shapes are those of the models' published configurations; GB = 1e9 bytes, GiB = 2**30 bytes.
"""

GIB = 2**30
LLAMA2_7B = {"layers": 32, "kv_heads": 32, "head_dim": 128}
LLAMA3_8B = {"layers": 32, "kv_heads": 8, "head_dim": 128}
LLAMA3_70B_PARAMETERS = 70.6e9
LLAMA2_7B_PARAMETERS = 6.738e9
LLAMA2_7B_KEPT = 2 * 32000 * 4096  # embeddings and head stay in 16 bits
LLAMA3_8B_PARAMETERS = 8.03e9
LLAMA3_8B_KEPT = 2 * 128256 * 4096
HALF = 2  # bytes of bf16 or fp16


def bits_per_weight(bits: int, group_size: int, asymmetric: bool) -> float:
    """Return stored bits of a grouped integer weight: code, 16-bit scale and, if asymmetric, a zero point."""
    return bits + (16 + (bits if asymmetric else 0)) / group_size


def grouped_gigabytes(parameters: float, kept: float, bits: int = 4, group_size: int = 128) -> float:
    """Return GB of a model of grouped asymmetric integers whose `kept` weights stay in 16 bits."""
    return ((parameters - kept) * bits_per_weight(bits, group_size, True) / 8 + kept * HALF) / 1e9


def kv_bytes_per_token(layers: int, kv_heads: int, head_dim: int, bytes_each: float = HALF) -> float:
    """Return bytes of keys and values that one token adds: 2 x layers x KV heads x head size x bytes."""
    return 2 * layers * kv_heads * head_dim * bytes_each


def largest_bits_for_70b_on_24_gb() -> float:
    """Bits per weight at which 70.6e9 weights alone fill 24e9 bytes."""
    return 24e9 * 8 / LLAMA3_70B_PARAMETERS


def gigabytes_70b_at_4_bits() -> float:
    """GB of 70.6e9 weights at 4 bits, without scales."""
    return LLAMA3_70B_PARAMETERS * 4 / 8 / 1e9


def gigabytes_7b_bf16() -> float:
    """GB of Llama-2-7B in bf16."""
    return LLAMA2_7B_PARAMETERS * HALF / 1e9


def gigabytes_7b_at_4_bits_stored() -> float:
    """GB of Llama-2-7B at 4 bits g128 asymmetric, embeddings and head in 16 bits."""
    return grouped_gigabytes(LLAMA2_7B_PARAMETERS, LLAMA2_7B_KEPT)


def gigabytes_8b_at_4_bits_stored() -> float:
    """GB of Llama-3-8B at 4 bits g128 asymmetric, embeddings and head in 16 bits."""
    return grouped_gigabytes(LLAMA3_8B_PARAMETERS, LLAMA3_8B_KEPT)


def percent_overhead_of_group_128() -> float:
    """Percent that a 16-bit scale per 128 four-bit weights adds."""
    return 100 * (bits_per_weight(4, 128, False) / 4 - 1)


def percent_overhead_of_group_32() -> float:
    """Percent that a 16-bit scale per 32 four-bit weights adds."""
    return 100 * (bits_per_weight(4, 32, False) / 4 - 1)


def percent_of_the_fuller_card_34b() -> float:
    """Percent that 34e9 weights g128 asymmetric fill: 4 bits of 24e9 bytes, 3 bits of 16e9, the larger."""
    filled = {bits: 34e9 * bits_per_weight(bits, 128, True) / 8 for bits in (4, 3)}
    return 100 * max(filled[4] / 24e9, filled[3] / 16e9)


def gibibytes_of_kv_7b_4k_batch_32() -> float:
    """GiB of keys and values of Llama-2-7B at 4,096 tokens x 32 sequences in 16 bits."""
    return kv_bytes_per_token(**LLAMA2_7B) * 4096 * 32 / GIB


def gibibytes_of_kv_8b_gqa_4k_batch_32() -> float:
    """GiB of the same for Llama-3-8B, whose 32 query heads share 8 KV heads."""
    return kv_bytes_per_token(**LLAMA3_8B) * 4096 * 32 / GIB


def fp8_kv_compression() -> float:
    """How many times smaller an 8-bit KV cache is than a 16-bit one."""
    return kv_bytes_per_token(**LLAMA3_8B) / kv_bytes_per_token(**LLAMA3_8B, bytes_each=1)


def nf4_bits_over_awq_bits() -> float:
    """Bits of NF4 with double quantization over those of 4 bits g128 asymmetric."""
    nf4 = 4 + 8 / 64 + 32 / (64 * 256)
    return nf4 / bits_per_weight(4, 128, True)


def mixed_bits_of_quality_ranking() -> float:
    """Bits of g32 asymmetric over g128 asymmetric: what the ranking compares as equals."""
    return bits_per_weight(4, 32, True) / bits_per_weight(4, 128, True)


def h200_over_h100_bandwidth() -> float:
    """Memory bandwidth 4.8 TB/s over 3.35 TB/s."""
    return 4.8 / 3.35


def percent_smaller_q4_k_m() -> float:
    """Percent that Q4_K_M (4.8944 bits per weight) saves against F16 (16.0005), llama.cpp's own table."""
    return 100 * (1 - 4.8944 / 16.0005)


def decode_speedup_over_byte_ratio() -> float:
    """Speed-up over saved bytes of Q4_K_M against F16 in llama.cpp's table (29.2 to 71.9 tokens/s)."""
    return (71.9 / 29.2) / (16.0005 / 4.8944)


def m3_max_share_of_roofline() -> float:
    """25 tokens/s over what 400 GB/s can read of 4.92 GB (Q4_K_M of Llama-3-8B) each second."""
    return 25 / (400 / 4.92)


def fp8_ridge_batch() -> float:
    """Batch size above which an H100 in bf16 (989 TFLOPS, 3.35 TB/s) computes longer than it reads."""
    return 989e12 * HALF / (2 * 3.35e12)


def nf4_levels_from_equal_quantiles() -> float:
    """Largest distance of an NF4 level from 16 equally probable normal quantiles (midpoints, scaled to 1)."""
    from statistics import NormalDist

    book = (
        -1.0,
        -0.6961928,
        -0.5250731,
        -0.3949175,
        -0.2844414,
        -0.1847734,
        -0.09105,
        0.0,
        0.0795803,
        0.1609302,
        0.2461123,
        0.3379152,
        0.4407098,
        0.562617,
        0.7229568,
        1.0,
    )
    equal = [NormalDist().inv_cdf((index + 0.5) / 16) for index in range(16)]
    return max(abs(level - value / equal[-1]) for level, value in zip(book, equal, strict=True))
