"""A plan as the lines that `qcourse plan` prints."""

from typing import Any


def report(plan: Any) -> str:
    """Return the plan as the lines that the command prints."""
    sizes, one = plan.model, size(plan.device_bytes)
    active = f" ({sizes.active_parameters / 1e9:.2f} B a token)" if sizes.experts > 1 else ""
    many = f" x {plan.tensor_parallel}, {one} on each" if plan.tensor_parallel > 1 else ""
    capped = ", windows and states counted" if len(sizes.caches) > 1 or sizes.state_values else ""
    usable = plan.usable_bytes / plan.device.memory_bytes
    lines = [
        f"{sizes.name}: {sizes.total_parameters / 1e9:.2f} B parameters{active}, {plan.name}",
        f"  weights        {size(plan.weights_bytes):>10}",
        f"  KV cache       {size(plan.kv_cache_bytes):>10}   {plan.kv_bytes_per_token / 1024:g} KiB"
        f" a token x {plan.context:,} tokens x {plan.batch} ({plan.kv_cache_dtype}){capped}",
        f"  total          {size(plan.total_bytes):>10}   {verdict(plan)} {plan.device.name}{many} "
        f"({usable:.0%} of {size(plan.device.memory_bytes)}, "
        f"{plan.device.memory_bytes / 2**30:.1f} GiB)",
        f"  room for       {plan.sequences:>10,}   sequences of {plan.context:,} tokens",
    ]
    return "\n".join([*lines, *describe_bounds(plan)])


def verdict(plan: Any) -> str:
    """Return whether it fits, and that the tenth kept for the engine decides where it does."""
    kept = plan.usable_bytes < plan.device_bytes <= plan.device.memory_bytes
    share = 1 - plan.usable_bytes / plan.device.memory_bytes
    reason = f", only because {share:.0%} is kept for the engine," if kept else ""
    return f"{'fits' if plan.fits else 'does not fit'}{reason} in {size(plan.usable_bytes)} usable of"


def describe_bounds(plan: Any) -> list[str]:
    """Return the roofline's lines, or the reason why there are none."""
    if plan.bounds is None:
        return [f"  speed          not known: {plan.device.name} has no sourced bandwidth"]
    bounds, ridge = plan.bounds, plan.bounds.batch_at_ridge
    turn = "at every batch" if ridge is None else f"turns at batch {ridge:.0f}"
    if bounds.prefill is None:
        turn, prefill = "its rate is not known", "  prefill        not known"
    else:
        prefill = f"  prefill        {1e3 * bounds.prefill:>7.1f} ms   at least for {plan.context:,} tokens"
    return [
        f"  decode         {1e3 * bounds.decode:>7.1f} ms   a step at least, bound by "
        f"{bounds.decode_bound} ({turn})",
        prefill,
    ]


def size(count: float) -> str:
    """Return bytes as a short text: 3.89 GB, 42.1 MB."""
    return f"{count / 1e9:.2f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"
