"""What a delivery costs, fitted to what was measured, and what follows for a larger machine.

The server's CPU time of a delivery is taken to be a sum:

    write x writes + frame + byte x bytes sent + publication x publications + read x reads

all of them for one delivery. The coefficients are the least squares of the relative
errors, since costs span four orders of magnitude, and none may be negative.
"""

import math
from dataclasses import dataclass

import numpy

TERMS = ("write", "frame", "byte", "publication", "read")
# What the model is fitted to; topics and shards are what it is tried on.
FITTED = ("subscribers", "payload", "publishers", "inbound")


@dataclass(frozen=True)
class Fit:
    # Nanoseconds by term.
    cost: dict
    points: int
    # Of the logarithms.
    r_squared: float
    median_error: float
    max_error: float


@dataclass(frozen=True)
class Row:
    """A point as the model sees it."""

    series: str
    line: str
    x: int
    counts: tuple
    cpu_ns: float


def rows(growth, names):
    return [as_row(name, point) for name in names for point in growth[name].points]


def as_row(name, point):
    if name == "inbound":
        # Nobody receives: the unit is a publication, and the last of a burst is answered.
        counts = (1 / point.burst, 0, 0, 1, 1 / point.burst)
        return Row(name, point.line, point.x, counts, point.cpu_ns)
    publications = 1 / point.receivers
    counts = (point.writes, 1, point.median("frame_bytes"), publications, publications / point.burst)
    return Row(name, point.line, point.x, counts, point.cpu_ns)


def fit(found, terms=TERMS):
    """Least squares of the relative errors. A term that would cost less than nothing is left out."""
    counts = numpy.array([row.counts for row in found])
    measured = numpy.array([row.cpu_ns for row in found])
    used = [index for index in range(counts.shape[1]) if counts[:, index].any()]
    while True:
        solution, *_ = numpy.linalg.lstsq(counts[:, used] / measured[:, None], numpy.ones(len(measured)), rcond=None)
        if solution.min() >= 0:
            break
        used.pop(int(solution.argmin()))
    cost = {name: 0.0 for name in terms}
    cost.update({terms[index]: float(value) for index, value in zip(used, solution)})
    predicted = counts[:, used] @ solution
    logs, error_logs = numpy.log(measured), numpy.log(predicted / measured)
    errors = numpy.abs(predicted / measured - 1)
    return Fit(cost, len(found), float(1 - (error_logs**2).sum() / ((logs - logs.mean()) ** 2).sum()),
               float(numpy.median(errors)), float(errors.max()))


def predict(model, row):
    return sum(model.cost[name] * count for name, count in zip(TERMS, row.counts))


def fit_limit(growth):
    """The same for the loop that only sends: a write and its bytes. With fewer than a hundred connections
    everything it touches stays in the nearest cache, as nothing does in a server."""
    found = [
        Row(name, point.line, point.x, (1 / point.limit("join"), point.limit("frame_bytes")), point.limit("cpu_ns"))
        for name in FITTED for point in growth[name].points if point.limits and point.receivers >= 100
    ]
    return fit(found, ("write", "byte"))


def fit_line(points, value):
    """Slope and intercept of `value` over x."""
    slope, intercept = numpy.polyfit([point.x for point in points], [value(point) for point in points], 1)
    return float(slope), float(intercept)


# The larger machine.
CORES = 64
CARD_BYTES_PER_SECOND = 100e9 / 8
# TCP with timestamps over IPv4 and an MTU of 1,500 bytes.
SEGMENT_BYTES = 1448
# Around each segment: TCP 32, IP 20, Ethernet 14 + 4, preamble and gap 20.
SEGMENT_OVERHEAD = 90
# Eight channels of DDR4-3200.
MEMORY_BYTES_PER_SECOND = 204.8e9
# The copy into the kernel writes a line that it has to fetch, and the card reads it.
MEMORY_PASSES = 3


@dataclass(frozen=True)
class Machine:
    """What the fitted costs mean on CORES cores behind one card."""

    model: Fit
    # Bytes of a frame that are not payload.
    envelope: float

    def cpu_ns(self, payload, join):
        """Of a delivery in a topic with many subscribers on each shard, where publications cost nothing."""
        cost = self.model.cost
        return cost["write"] / join + cost["frame"] + cost["byte"] * (payload + self.envelope)

    def wire_bytes(self, payload, join):
        written = join * (payload + self.envelope)
        return (written + SEGMENT_OVERHEAD * math.ceil(written / SEGMENT_BYTES)) / join

    def segments(self, payload, join):
        return math.ceil(join * (payload + self.envelope) / SEGMENT_BYTES) / join

    def by_cores(self, payload, join):
        return CORES * 1e9 / self.cpu_ns(payload, join)

    def by_card(self, payload, join):
        return CARD_BYTES_PER_SECOND / self.wire_bytes(payload, join)

    def rate(self, payload, join):
        return min(self.by_cores(payload, join), self.by_card(payload, join))

    def crossing(self, join):
        """The smallest payload at which the card is full before the cores are; none up to 64 KiB."""
        return next((payload for payload in range(1, 65_537) if self.by_card(payload, join) < self.by_cores(payload, join)),
                    None)


def machine(growth):
    model = fit(rows(growth, FITTED))
    base = growth["subscribers"].at("burst 64", 1_000)
    return Machine(model, base.median("frame_bytes") - 128)
