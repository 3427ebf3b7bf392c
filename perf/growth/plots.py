"""The plots: one message each, said in its title from the data."""

import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as pyplot  # noqa: E402
from matplotlib.ticker import FuncFormatter, NullFormatter, NullLocator  # noqa: E402

import model  # noqa: E402
from words import growth_of, nanoseconds, rate, size, thousands, times  # noqa: E402

INK, FAINT, GRID = "#24292f", "#57606a", "#d8dee4"
COLOURS = ("#0969da", "#bc4c00", "#1a7f37", "#8250df")
LIMIT = "#8c959f"
# Keeps lines out of the text.
BEHIND = {"boxstyle": "square,pad=0.1", "facecolor": "white", "edgecolor": "none", "alpha": 0.85}

matplotlib.rcParams.update({
    # The same data make the same file.
    "svg.hashsalt": "fanfare",
    "svg.fonttype": "path",
    "font.family": "DejaVu Sans",
    "font.size": 10,
    "text.color": INK,
    "axes.labelcolor": FAINT,
    "axes.edgecolor": GRID,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "xtick.color": FAINT,
    "ytick.color": FAINT,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "lines.linewidth": 2,
    "lines.markersize": 5.5,
    "figure.figsize": (7.6, 4.2),
    # Readable on a dark page, too.
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
})


def draw(growth, directory):
    """Draws all plots; returns the files."""
    files = []
    for name, make in PLOTS.items():
        figure, axes = pyplot.subplots()
        title, subtitle = make(axes, growth)
        figure.subplots_adjust(left=0.1, right=0.84, top=0.83, bottom=0.13)
        figure.text(0.02, 0.94, title, fontsize=12.5, fontweight="bold")
        figure.text(0.02, 0.885, subtitle, fontsize=9, color=FAINT)
        path = directory / f"{name}.svg"
        figure.savefig(path, metadata={"Date": None, "Creator": None})
        pyplot.close(figure)
        # Matplotlib leaves blanks at the ends of lines.
        path.write_text("".join(f"{line.rstrip()}\n" for line in path.read_text().splitlines()))
        files.append(path)
    return files


def subscribers_cost(axes, growth):
    result = growth["subscribers"]
    cost_lines(axes, result)
    logarithmic(axes, result.points, thousands, nanoseconds)
    axes.set_xlabel("subscribers of the topic")
    line = result.line("burst 64")
    return (
        f"To {line[-1].x:,} subscribers a delivery costs {growth_of(line, 100)} what it costs to 100",
        "server CPU for a delivery; 128-byte payload; the limit is a loop that only sends",
    )


def subscribers_rate(axes, growth):
    result = growth["subscribers"]
    ends = []
    for colour, name in zip(COLOURS, result.lines()):
        line = result.line(name)
        whisker_line(axes, line, "per_second", colour)
        for point in line:
            if not point.is_server_full:
                axes.plot(point.x, point.median("per_second"), "o", color="white", markeredgecolor=colour, zorder=4)
        ends.append((line[-1].x, line[-1].median("per_second"), name, colour))
    label_ends(axes, ends)
    logarithmic(axes, result.points, thousands, rate)
    axes.set_xlabel("subscribers of the topic")
    best = max(result.line("burst 64"), key=lambda point: point.median("per_second"))
    return (
        f"The rate is highest at {best.x:,} subscribers: {rate(best.median('per_second'))} from one core",
        "deliveries per second; hollow where the server's core was not full: it waited for the publisher or the generator",
    )


def peers_cost(axes, growth):
    result = growth["peers"]
    cost_lines(axes, result)
    logarithmic(axes, result.points, thousands, nanoseconds)
    axes.set_xlabel("subscribers of the topic")
    gateway, *others = (result.line(name) for name in result.lines())
    least = min(line[-1].cpu_ns for line in others)
    return (
        f"To {gateway[-1].x:,} subscribers the others take at least {times(least / gateway[-1].cpu_ns)} our CPU time",
        "server CPU for a delivery; 128-byte payload, bursts of 64, one core each",
    )


def topics_cost(axes, growth):
    result = growth["topics"]
    cost_lines(axes, result)
    logarithmic(axes, result.points, thousands, nanoseconds)
    axes.set_xlabel("topics, 10 subscribers each")
    line = result.line("burst 64")
    return (
        f"100,000 topics cost {times(line[-1].cpu_ns / line[-1].limit('cpu_ns'))} what sending alone costs",
        "server CPU for a delivery; a burst of 64 goes over all topics, so the more there are the less can be joined",
    )


def payload_cost(axes, growth):
    result = growth["payload"]
    cost_lines(axes, result)
    logarithmic(axes, result.points, size, nanoseconds)
    axes.set_xlabel("payload")
    line = result.line("burst 1")
    return (
        f"A payload of 64 KiB costs {times(line[-1].cpu_ns / line[0].cpu_ns)} what 41 bytes cost, one at a time",
        "server CPU for a delivery; 100 subscribers; 41 bytes are the smallest payload that can be verified",
    )


def payload_bytes(axes, growth):
    result = growth["payload"]
    ends = []
    for colour, name in zip(COLOURS, result.lines()):
        line = result.line(name)
        xs, ys = [point.x for point in line], [point.cpu_ns / point.x for point in line]
        axes.plot(xs, ys, "o-", color=colour)
        ends.append((xs[-1], ys[-1], name, colour))
    label_ends(axes, ends)
    logarithmic(axes, result.points, size, nanoseconds)
    axes.set_xlabel("payload")
    least = min(point.cpu_ns / point.x for point in result.points)
    return (
        f"Large payloads cost down to {nanoseconds(least)} a byte: {8 / least:,.0f} Gbit/s from one core",
        "server CPU for a byte of payload",
    )


def publishers_cost(axes, growth):
    result = growth["publishers"]
    cost_lines(axes, result)
    logarithmic(axes, result.points, thousands, nanoseconds)
    axes.set_xlabel("publishers, each with one message on the way")
    first, last = result.points[0], result.points[-1]
    return (
        f"256 publishers make a delivery {times(first.cpu_ns / last.cpu_ns)} cheaper than one",
        "server CPU for a delivery; 1,000 subscribers; what arrives in one turn of the loop leaves in one write",
    )


def shards_cost(axes, growth):
    result = growth["shards"]
    ends = []
    for colour, name in zip(COLOURS, result.lines()):
        line = result.line(name)
        whisker_line(axes, line, "cpu_ns", colour)
        for point in line:
            axes.annotate(nanoseconds(point.cpu_ns), (point.x, point.cpu_ns), (0, 9), textcoords="offset points",
                          ha="center", fontsize=8.5, color=colour)
        ends.append((line[-1].x, line[-1].cpu_ns, name, colour))
    label_ends(axes, ends)
    logarithmic(axes, result.points, thousands, nanoseconds)
    axes.set_ylim(axes.get_ylim()[0], axes.get_ylim()[1] * 2)
    axes.set_xlabel("shards on two cores, which the generator shares")
    line = result.line("burst 256")
    return (
        f"With two shards a joined delivery costs {times(line[1].cpu_ns / line[0].cpu_ns)} one shard's",
        "server CPU for a delivery; 1,000 subscribers of one topic; four shards have only two cores to run on",
    )


def memory(axes, growth):
    points = growth["memory"].points
    slope, intercept = model.fit_line(points, lambda point: point.median("rss"))
    axes.plot([0, points[-1].x], [intercept / 2**20, (intercept + slope * points[-1].x) / 2**20], "-", color=LIMIT,
              linewidth=1.2)
    for point in points:
        axes.plot(point.x, point.median("rss") / 2**20, "o", color=COLOURS[0])
        axes.annotate(f"{point.median('rss') / 2**20:.0f} MiB", (point.x, point.median("rss") / 2**20), (0, 9),
                      textcoords="offset points", ha="center", fontsize=9, color=COLOURS[0])
    axes.set_ylim(0, max(point.median("rss") for point in points) / 2**20 * 1.2)
    axes.set_xlim(0, points[-1].x * 1.06)
    axes.set_xticks([point.x for point in points])
    axes.set_xlabel("idle connections")
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.0f} MiB"))
    return (
        f"An idle connection takes {slope / 1024:.1f} KiB of memory",
        "resident memory of the gateway; the line is the least squares; what the kernel keeps for a socket is not in it",
    )


def fit(axes, growth):
    whole = model.machine(growth).model
    ends = {}
    for colour, marker, name in zip((*COLOURS, "#cf222e"), "osD^v", (*model.FITTED, "topics")):
        for row in model.rows(growth, [name]):
            predicted = model.predict(whole, row)
            tried = name == "topics"
            axes.plot(row.cpu_ns, predicted, marker, color="white" if tried else colour, markeredgecolor=colour,
                      linestyle="none", label=None if name in ends else f"{name}, not fitted" if tried else name, zorder=3)
            ends[name] = True
    low, high = (pick(row.cpu_ns for row in model.rows(growth, model.FITTED)) for pick in (min, max))
    axes.plot([low / 2, high * 2], [low / 2, high * 2], "-", color=LIMIT, linewidth=1.2)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.legend(loc="upper left", frameon=False, fontsize=9)
    tidy(axes)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(FuncFormatter(lambda value, _: nanoseconds(value)))
    axes.set_xlabel("measured")
    axes.set_ylabel("the model says")
    return (
        f"{sum(cost > 0 for cost in whole.cost.values())} coefficients explain a delivery's cost within {whole.median_error * 100:.0f} % in the median",
        "server CPU for a delivery, or for a publication that nobody receives",
    )


def scaling(axes, growth):
    machine = model.machine(growth)
    payloads = [2**power for power in range(4, 17)]
    for colour, join in zip(COLOURS, (1, 4, 16)):
        cores = [machine.by_cores(payload, join) for payload in payloads]
        axes.plot(payloads, cores, "-", color=colour)
        axes.annotate(f"cores, {join} a write", (payloads[0], cores[0]), (4, -14 if join == 1 else 6),
                      textcoords="offset points", color=colour, bbox=BEHIND, zorder=6)
        crossing = machine.crossing(join)
        if crossing and crossing > payloads[0]:
            axes.plot(crossing, machine.by_cores(crossing, join), "o", color=colour, markersize=8, zorder=5)
            axes.annotate(f"card full\nfrom {size(crossing)}", (crossing, machine.by_cores(crossing, join)), (-5, -28),
                          textcoords="offset points", ha="right", fontsize=9, color=colour, bbox=BEHIND, zorder=6)
    for join, style in ((16, "-"), (1, "--")):
        axes.plot(payloads, [machine.by_card(payload, join) for payload in payloads], style, color=INK, linewidth=1.4)
    axes.annotate("card (dashed:\n1 a write)", (payloads[-1], machine.by_card(payloads[-1], 16)), (9, 4),
                  textcoords="offset points", va="center", annotation_clip=False)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_ylim(top=axes.get_ylim()[1] * 1.6)
    tidy(axes)
    axes.set_xticks([16, 128, 1024, 8192, 65536])
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: size(value)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: rate(value)))
    axes.set_xlabel("payload")
    crossing = machine.crossing(1)
    return (
        f"A 100 Gbit/s card is full before 64 cores are{f' from {size(crossing)} on' if crossing else ' if messages are joined'}",
        "deliveries per second by the model, not measured; what is lower is the limit",
    )


def cost_lines(axes, result):
    """The gateway's cost by line, and in grey the limit's."""
    ends = []
    for colour, name in zip(COLOURS, result.lines()):
        line = result.line(name)
        limited = [point for point in line if point.limits]
        axes.plot([point.x for point in limited], [point.limit("cpu_ns") for point in limited], "--", color=LIMIT,
                  linewidth=1.4, zorder=2)
        whisker_line(axes, line, "cpu_ns", colour)
        ends.append((line[-1].x, line[-1].cpu_ns, name, colour))
    if any(point.limits for point in result.points):
        axes.plot([], [], "--", color=LIMIT, linewidth=1.4, label="the limit, joining as much")
        axes.legend(loc="best", frameon=False, fontsize=9, labelcolor=FAINT)
    label_ends(axes, ends)


def whisker_line(axes, line, name, colour):
    """Medians, with a whisker from the least to the most of the rounds."""
    axes.plot([point.x for point in line], [point.median(name) for point in line], "o-", color=colour, zorder=3)
    for point in line:
        axes.plot([point.x] * 2, point.range(name), "-", color=colour, linewidth=1, alpha=0.7)


def label_ends(axes, ends):
    for x, y, text, colour in ends:
        axes.annotate(text, (x, y), (9, 0), textcoords="offset points", va="center", color=colour, fontsize=10,
                      annotation_clip=False)


def logarithmic(axes, points, x_text, y_text):
    """Both axes, with a tick at every x that was measured."""
    axes.set_xscale("log")
    axes.set_yscale("log")
    ticks = sorted({point.x for point in points})
    # The last but one and the last, where they are long, would write over each other.
    if len(ticks) > 1 and 10_000 <= ticks[-2] and ticks[-1] <= 2 * ticks[-2]:
        del ticks[-2]
    axes.set_xticks(ticks)
    tidy(axes)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: x_text(value)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: y_text(value)))


def tidy(axes):
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_minor_locator(NullLocator())
        axis.set_minor_formatter(NullFormatter())


PLOTS = {
    "subscribers-cost": subscribers_cost,
    "subscribers-rate": subscribers_rate,
    "peers": peers_cost,
    "topics": topics_cost,
    "payload": payload_cost,
    "payload-bytes": payload_bytes,
    "publishers": publishers_cost,
    "shards": shards_cost,
    "memory": memory,
    "fit": fit,
    "scaling": scaling,
}
