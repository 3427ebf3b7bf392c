"""Numbers as a reader wants them."""


def nanoseconds(value):
    if value < 10:
        return f"{value:.2g} ns"
    if value < 1_000:
        return f"{value:.0f} ns"
    return f"{value / 1e3:.2g} us" if value < 10_000 else f"{value / 1e3:.0f} us"


def rate(value):
    for unit, factor in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if value >= factor:
            return f"{value / factor:.3g} {unit}/s"
    return f"{value:.0f}/s"


def thousands(value):
    return f"{value:,.0f}"


def size(value):
    """Bytes."""
    if value < 1024:
        return f"{value:.0f} B"
    return f"{value / 1024:.3g} KiB" if value < 2**20 else f"{value / 2**20:.3g} MiB"


def gigabytes(value):
    return f"{value / 1e9:.3g} GB"


def times(ratio):
    return f"{ratio:.2f} times" if ratio < 10 else f"{ratio:,.0f} times"


def percent(ratio):
    return f"{ratio * 100:.0f} %"


def growth_of(line, first):
    """How many times dearer the last point is than that at `first`."""
    by_x = {point.x: point.cpu_ns for point in line}
    return times(line[-1].cpu_ns / by_x[first])
