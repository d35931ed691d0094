"""Measured points to a Markdown table."""

import math

RECALLS = (0.95, 0.98, 0.99)
RECALLS_FILTERED = (0.95, 0.98)


def rate_at(recall, points):
    """Queries a second at that recall, log-linear between the two points around it.

    Of the points only those matter that no other beats in both. Below the lowest recall
    an engine can be asked for, its fastest point counts; above its highest, None.
    """
    useful = []
    for point in sorted(points, key=lambda point: -point["recall"]):
        if not useful or point["queries_per_second"] > useful[-1]["queries_per_second"]:
            useful.append(point)
    above = [point for point in useful if point["recall"] >= recall]
    below = [point for point in useful if point["recall"] < recall]
    if not above:
        return None
    worse, better = (below or above[-1:])[0], above[-1]
    if worse is better:
        return better["queries_per_second"]
    share = (recall - worse["recall"]) / (better["recall"] - worse["recall"])
    return math.exp(
        (1 - share) * math.log(worse["queries_per_second"])
        + share * math.log(better["queries_per_second"])
    )


def search_table(data, pins, k, rows):
    lines = [
        f"### {data}, {pins:,} pins, k = {k}",
        "",
        *heading(
            "engine",
            *(f"queries/s at {recall}" for recall in RECALLS),
            "build s",
            "build CPU s",
            "bytes/pin",
        ),
    ]
    rates = {}
    for row in rows:
        points = [point for point in row["points"] if point["k"] == k]
        rates[row["engine"]] = [rate_at(recall, points) for recall in RECALLS]
        lines.append(cells(
            row["engine"],
            *map(number, rates[row["engine"]]),
            number(row["build_wall_seconds"]),
            number(row["build_cpu_seconds"]),
            number(row["bytes_per_pin"]),
        ))
    return "\n".join(lines + ratios(rates)) + "\n"


def ratios(rates):
    """How many times as fast pinnersage is as those it is usually compared with."""
    ours = rates.get("pinnersage")
    if ours is None:
        return []
    peers = [rate for name, rate in rates.items() if name != "pinnersage"]
    best = [max((rate[at] or 0.0 for rate in peers), default=0.0) for at in range(len(RECALLS))]
    others = {"the best peer": best}
    others |= {name: rates[name] for name in ("hnswlib M16",) if name in rates}
    lines = [""]
    for name, theirs in others.items():
        each = ", ".join(
            f"{mine / other:.2f} at {recall}" if mine and other else f"- at {recall}"
            for recall, mine, other in zip(RECALLS, ours, theirs)
        )
        lines.append(f"- pinnersage / {name}: {each}")
    return lines


def filter_table(data, pins, k, rows):
    """A line for each filter; in a cell the rates at the recalls."""
    engines = list(dict.fromkeys(row["engine"] for row in rows))
    lines = [
        f"### {data}, {pins:,} pins, filters, k = {k}",
        "",
        "Queries/s at recall " + " / ".join(map(str, RECALLS_FILTERED)),
        "",
        *heading("attribute", "selected", *engines, "to the best peer", "to the best scan"),
    ]
    for attribute, bound in dict.fromkeys((row["attribute"], row["bound"]) for row in rows):
        of_case = [row for row in rows if (row["attribute"], row["bound"]) == (attribute, bound)]
        rates = {
            row["engine"]: [rate_at(recall, row["points"]) for recall in RECALLS_FILTERED]
            for row in of_case
        }
        peers = [rates[name] for name in engines if name != "pinnersage" and not is_scan(name)]
        scans = [rates[name] for name in engines if is_scan(name)]
        plans = {row["engine"]: f" ({row['plan']})" for row in of_case if "plan" in row}
        lines.append(cells(
            attribute,
            f"{bound:.1%}",
            *(" / ".join(map(number, rates[name])) + plans.get(name, "") for name in engines),
            *(ratio_to_best(rates.get("pinnersage"), others) for others in (peers, scans)),
        ))
    return "\n".join(lines) + "\n"


def is_scan(engine):
    return engine.startswith("scan: ")


def ratio_to_best(ours, others):
    best = [max((rates[at] or 0.0 for rates in others), default=0.0) for at in range(len(RECALLS_FILTERED))]
    return " / ".join(
        f"{mine / other:.2f}" if mine and other else "-" for mine, other in zip(ours or [None] * len(best), best)
    )


def server_table(rows):
    lines = ["### End to end, wordnet", ""]
    lines += heading("server", "recall", "callers", "calls/s", "p50 ms", "p99 ms")
    for row in rows:
        lines.append(cells(
            row["server"],
            f"{row['recall']:.3f}" if row["recall"] else "-",
            str(row["callers"]),
            number(row["calls_per_second"]),
            f"{row['p50_ms']:.2f}",
            f"{row['p99_ms']:.2f}",
        ))
    return "\n".join(lines) + "\n"


def heading(*names):
    return [cells(*names), cells("---", *["---:"] * (len(names) - 1))]


def cells(*texts):
    return "| " + " | ".join(texts) + " |"


def number(value):
    return "-" if value is None else f"{value:,.0f}"
