"""The figures on the pages: written between markers, so that they are those of the files."""

import re

import model
from measure import ROOT, Failed
from words import gigabytes, growth_of, nanoseconds, percent, rate, size, times

from series import SERVERS

END = "<!-- end of {} -->"
BEGIN = "<!-- written by `perf/growth/run`: {} -->"


def update(growth, directory):
    """Fills in both pages; returns them."""
    for page, blocks in PAGES.items():
        path = directory / page
        text = path.read_text()
        for name, write in blocks.items():
            begin, end = BEGIN.format(name), END.format(name)
            before, found, rest = text.partition(begin)
            _, ended, after = rest.partition(end)
            if not found or not ended:
                raise Failed(f"{path.name} lacks one of the lines {begin} and {end}")
            text = f"{before}{begin}\n\n{write(growth)}\n\n{end}{after}"
        path.write_text(text)
    return [directory / page for page in PAGES]


def machine(growth):
    results = list(growth.values())
    facts = max((result.facts for result in results), key=lambda facts: facts["date"])
    days = sorted({result.facts["date"][:10] for result in results})
    commits = sorted({result.facts["commit"] for result in results})
    rounds, seconds = min(result.round_count for result in results), min(result.duration for result in results)
    when = days[0] if len(days) == 1 else f"{days[0]} to {days[-1]}"
    short = " **A quick look, not a measurement.**" if rounds < 3 else ""
    return (
        f"Measured {when} at commit {', '.join(commits)}: {facts['cores']} cores of a "
        f"{'virtual machine' if facts['virtual_machine'] else 'machine'} ({facts['cpu']}, kernel {facts['kernel']}, "
        f"{facts['memory_gib']:.0f} GiB, {facts['sysctl']['net.ipv4.tcp_congestion_control']}, loopback), {rounds} "
        f"{'round' if rounds == 1 else 'rounds'} of {seconds:g} s.{short}"
    )


def subscribers(growth):
    result = growth["subscribers"]
    joined, single = result.line("burst 64"), result.line("burst 1")
    thousand = result.at("burst 64", 1_000), result.at("burst 1", 1_000)
    best = max(joined, key=lambda point: point.median("per_second"))
    return (
        f"In bursts of 64 a delivery to 1,000 subscribers costs {against_limit(thousand[0])}, one at a time "
        f"{against_limit(thousand[1])}. To {joined[-1].x:,} subscribers it costs {growth_of(joined, 100)} "
        f"what it costs to 100, or {growth_of(single, 100)} one at a time; a single subscriber, who bears the publication alone, "
        f"costs {nanoseconds(joined[0].cpu_ns)} and {nanoseconds(single[0].cpu_ns)}. The highest rate is "
        f"{rate(best.median('per_second'))} at {best.x:,} subscribers, {share_of_generator(best)}."
    )


def share_of_generator(point):
    return f"with {percent(point.median('server_share'))} of the server's core and {percent(point.median('generator_share'))} of the generator's"


def against_limit(point):
    return f"{nanoseconds(point.cpu_ns)} ({point.cpu_ns / point.limit('cpu_ns'):.2f} times the limit's {nanoseconds(point.limit('cpu_ns'))})"


def peers(growth):
    result = growth["peers"]
    versions = result.facts["versions"]
    counts = [point.x for point in result.line(SERVERS["gateway"])]
    lines = ["| subscribers | " + " | ".join(f"{count:,}" for count in counts) + " |", "|---|" + "---|" * len(counts)]
    for server, line in SERVERS.items():
        points = [result.at(line, count) for count in counts]
        cells = [f"{nanoseconds(point.cpu_ns)}, {rate(point.median('per_second'))}" for point in points]
        lines.append(f"| {line if versions[server] == 'this commit' else versions[server]} | {' | '.join(cells)} |")
    return "\n".join(lines)


def topics(growth):
    lines = ["| topics | deliveries a write | CPU each | the limit | times the limit |", "|---|---|---|---|---|"]
    for point in growth["topics"].points:
        lines.append(
            f"| {point.x:,} | {1 / point.writes:.1f} | {nanoseconds(point.cpu_ns)} | {nanoseconds(point.limit('cpu_ns'))} "
            f"| {point.cpu_ns / point.limit('cpu_ns'):.2f} |")
    return "\n".join(lines)


def payload(growth):
    result = growth["payload"]
    lines = ["| payload | one at a time | times the limit | in bursts of 16 | times the limit | a byte, joined |",
             "|---|---|---|---|---|---|"]
    for single, joined in zip(result.line("burst 1"), result.line("burst 16")):
        cells = [f"{nanoseconds(point.cpu_ns)} | {point.cpu_ns / point.limit('cpu_ns'):.2f}" for point in (single, joined)]
        lines.append(f"| {size(single.x)} | {' | '.join(cells)} | {joined.cpu_ns / joined.x:.2f} ns |")
    return "\n".join(lines)


def publishers(growth):
    points = growth["publishers"].points
    first, last = points[0], points[-1]
    return (
        f"One publisher that waits for each message gets {1 / first.writes:.1f} messages into a write, at {against_limit(first)}; "
        f"{last.x} of them get {1 / last.writes:.0f} into one, at {against_limit(last)}."
    )


def shards(growth):
    result = growth["shards"]
    parts = []
    for name in result.lines():
        one, *more = result.line(name)
        grown = ", ".join(f"{times(point.cpu_ns / one.cpu_ns)} that with {point.x}" for point in more)
        parts.append(f"{name}: {nanoseconds(one.cpu_ns)} with one shard, {grown}")
    return "; ".join(parts).capitalize() + "."


def memory(growth):
    points = growth["memory"].points
    slope, _ = model.fit_line(points, lambda point: point.median("rss"))
    kernel, _ = model.fit_line(points, lambda point: point.median("kernel_bytes"))
    last = points[-1]
    return (
        f"{slope:,.0f} bytes of resident memory a connection by the slope, {size(last.median('rss'))} in all at {last.x:,}, and "
        f"{size(last.median('rss_after'))} after they left. The kernel's own objects grow by {kernel:,.0f} bytes a connection "
        f"(`Slab` in /proc/meminfo, of the whole machine); since both ends are here, about half of that is the server's."
    )


def fit(growth):
    whole = model.machine(growth).model
    limit = model.fit_limit(growth)
    lines = [
        "| term | what it stands for | CPU | of the limit |",
        "|---|---|---|---|",
        *(f"| {name} | {MEANING[name]} | {coefficient(whole.cost[name])} | {coefficient(limit.cost[name]) if name in limit.cost else ''} |"
          for name in model.TERMS),
        "",
        f"{whole.points} points; R² {whole.r_squared:.3f} (of the logarithms), residuals {percent(whole.median_error)} in the median "
        f"and {percent(whole.max_error)} at most. The limit's own fit: R² {limit.r_squared:.3f}, "
        f"{percent(limit.median_error)} and {percent(limit.max_error)}.",
        "",
        tried(growth, whole),
    ]
    return "\n".join(lines)


MEANING = {
    "write": "a write to a socket, and what TCP does with it at both ends",
    "frame": "a delivery, beyond its bytes",
    "byte": "a byte sent",
    "publication": "a frame that is read, parsed, given its offset, encoded and appended",
    "read": "a read from a publisher's socket, and the turn of the loop",
}


def coefficient(value):
    return "0" if value == 0 else f"{value:.3f} ns" if value < 1 else f"{value:,.1f} ns"


def tried(growth, whole):
    """What the model says of what it was not fitted to."""
    parts = []
    for row in model.rows(growth, ["topics"]):
        parts.append(f"{row.x:,} {'topic' if row.x == 1 else 'topics'} {model.predict(whole, row) / row.cpu_ns:.2f}")
    for row in model.rows(growth, ["shards"]):
        parts.append(f"{row.x} {'shard' if row.x == 1 else 'shards'} in {row.line.replace('burst', 'bursts of')} {model.predict(whole, row) / row.cpu_ns:.2f}")
    return f"Tried on what it was not fitted to, as the model's cost over the measured one: {', '.join(parts)}."


def rates(growth):
    machine = model.machine(growth)
    lines = [
        "| payload | messages a write | CPU each | one core | 64 cores | on the wire | the card | first full | packets/s |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for payload in (16, 128, 1024, 16_384, 65_536):
        for join in (1, 16, 64):
            cores, card = machine.by_cores(payload, join), machine.by_card(payload, join)
            lines.append(
                f"| {size(payload)} | {join} | {nanoseconds(machine.cpu_ns(payload, join))} | {rate(cores / model.CORES)} "
                f"| {rate(cores)} | {machine.wire_bytes(payload, join):,.0f} B | {rate(card)} "
                f"| {'card' if card < cores else 'cores'} | {rate(machine.segments(payload, join) * min(cores, card))} |")
    return "\n".join(lines)


def crossings(growth):
    machine = model.machine(growth)
    parts = []
    for join in (1, 4, 16, 64):
        crossing = machine.crossing(join)
        where = f"from {size(crossing)} on" if crossing else "at no payload up to 64 KiB"
        parts.append(f"{'one message' if join == 1 else join} a write: {'at any payload' if crossing == 1 else where}")
    share = model.CARD_BYTES_PER_SECOND * model.MEMORY_PASSES
    needed = machine.cpu_ns(128, 64) * machine.by_card(128, 64) / 1e9
    return (
        f"Where the card is full before the cores: {'; '.join(parts)}. Of 128-byte payloads joined by 64 it takes "
        f"{needed:.0f} cores to fill it. A full card needs {gigabytes(share)}/s of memory bandwidth if nothing is found in a cache "
        f"({model.MEMORY_PASSES} passes: fetch and write the copy, the card's read), {percent(share / model.MEMORY_BYTES_PER_SECOND)} of "
        f"{gigabytes(model.MEMORY_BYTES_PER_SECOND)}/s."
    )


# Assumed, not measured: a copy that finds its source in the cache.
COPY_NS_PER_BYTE = 0.1
# src/mesh/port.rs.
LANE_BYTES_MAX = 64 * 128 * 1024 + 2 * 128 * 1024
LANE_SLOTS_BYTES = 64 * 64


def mesh_ns():
    """A message to one other shard in batches of 64, both ends, by the table of micro-benchmarks."""
    found = re.search(r"^\| mesh \| 64 \| ([\d.]+) ns \|", (ROOT / "perf" / "README.md").read_text(), re.MULTILINE)
    if not found:
        raise Failed("perf/README.md has no row `mesh`, 64, in nanoseconds: perf/benches")
    return float(found[1])


def mesh(growth):
    lane_ns = mesh_ns()
    machine = model.machine(growth)
    others = model.CORES - 1
    frame = 128 + machine.envelope
    home_ns = machine.model.cost["publication"] + others * (lane_ns + COPY_NS_PER_BYTE * frame)
    publications = 1e9 / home_ns
    enough = machine.rate(128, 64) / publications
    lanes = 2 * model.CORES * others
    inbound = growth["inbound"].at("publish", 64)
    return (
        f"For 64 shards there are {2 * model.CORES**2:,} lanes, whose empty slots take {2 * model.CORES**2 * LANE_SLOTS_BYTES / 2**20:.0f} MiB. "
        f"If all {lanes:,} between different shards were full, they would hold {lanes * LANE_BYTES_MAX / 2**30:.0f} GiB; those of one home "
        f"{others * LANE_BYTES_MAX / 2**20:,.0f} MiB. One topic that all shards read costs its home {nanoseconds(home_ns)} a publication of "
        f"128 bytes ({others} times {lane_ns:.0f} ns for the lane, by the micro-benchmark, and {COPY_NS_PER_BYTE * frame:.0f} ns, assumed, for the copy, "
        f"and {nanoseconds(machine.model.cost['publication'])} for the publication), so it takes {rate(publications)} at most, "
        f"where a topic on one shard without subscribers took {rate(inbound.median('per_second'))}. Joined by 64, that is less than the whole machine could deliver "
        f"as long as the topic has fewer than {enough:,.0f} subscribers."
    )


def connections(growth):
    point = growth["connects"].points[0]
    slope, intercept = model.fit_line(growth["memory"].points, lambda each: each.median("rss"))
    kernel, _ = model.fit_line(growth["memory"].points, lambda each: each.median("kernel_bytes"))
    seconds = 1e6 * point.cpu_ns / 1e9 / model.CORES
    return (
        f"Connect, upgrade, greeting and close cost {nanoseconds(point.cpu_ns)} of CPU: {rate(1e9 / point.cpu_ns)} a core, and "
        f"a million clients that come back at once take 64 cores {seconds:.1f} s, without TLS. Idle, a million take "
        f"{(intercept + 1e6 * slope) / 2**30:.1f} GiB in the gateway and, by the slope of `Slab`, about {1e6 * kernel / 2 / 2**30:.1f} GiB in the kernel."
    )


def large_topic(growth):
    """50,000 subscribers of one topic, which one process cannot have here."""
    machine = model.machine(growth)
    joined = growth["subscribers"].line("burst 64")[-1]
    predicted = model.predict(machine.model, model.as_row("subscribers", joined))
    at_50_000 = joined.cpu_ns
    return (
        f"The model has no term for the number of subscribers. At {joined.x:,}, in bursts of 64, it says {nanoseconds(predicted)} where "
        f"{nanoseconds(at_50_000)} were measured ({at_50_000 / predicted:.2f} times). With the measured cost, 50,000 subscribers of one topic "
        f"on one shard would take {50_000 * at_50_000 / 1e6:.1f} ms a message; on 64 shards, 781 each, {50_000 / 64 * at_50_000 / 1e3:,.0f} us."
    )


PAGES = {
    "README.md": {
        "machine": machine, "subscribers": subscribers, "peers": peers, "topics": topics, "payload": payload, "publishers": publishers,
        "shards": shards, "memory": memory,
    },
    "scaling.md": {
        "machine": machine, "fit": fit, "large topic": large_topic, "rates": rates, "crossings": crossings, "mesh": mesh,
        "connections": connections,
    },
}
