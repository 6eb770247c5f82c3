"""What is allowed beside what was measured: the table that scripts/bench ends with."""

# the most of the processor time of FastAPI with two workers, by case
CPU = {"raw": 0.6, "densenet": 0.6, "jll": 0.45, "j2k": 0.15}
UNCOMPRESSED = ("raw", "densenet")
CROWD = 64
# the most of the cores that others may keep busy while time is measured, and not only processor time
OTHERS = 0.1
BARE, MEMORY, THROUGHPUT, TAIL, IDLE, TENSORS = 1.15, 0.25, 2.0, 0.5, 0.005, 0.8


def table(measured):
    """Prints a row for each promise and case. One figure for each concurrency; the worst counts."""
    print("\n| promise | case | allowed | measured | |\n|---|---|---|---|---|")
    for case in measured:
        for promise, allowed, value, met in promises(case):
            verdict = {True: "met", False: "**not met**", None: "not measured"}[met]
            print(f"| {promise} | {case['case']} | {allowed} | {value} | {verdict} |")
    noisy = [f"{case['case']} ({case['others']:.0%})" for case in measured if case["others"] > OTHERS]
    if noisy:
        print(f"\n!! others kept the cores busy before these cases: {', '.join(noisy)}. Throughput and p99 say nothing then, in "
              "either direction, and a request costs more processor time than on a quiet machine; measure again.")


def promises(case):
    """Each promise with what is allowed, what was measured, and whether that is within it: none where it cannot be told."""
    name, rows = case["case"], case["rows"]
    ours = {row["conc"]: row for row in rows if row["target"] == "osteon" and row["n"]}
    peers = [row for row in rows if row["target"] != "osteon" and row["n"]]
    if not ours:
        yield "osteon answers", "always", "never", False
        return
    if name == "tensors":
        over = [row["cpu"] - case["bare"] for row in ours.values()]
        yield "CPU over the bare network", f"{TENSORS} ms", f"{each(over)} ms", max(over) < TENSORS
    if name in UNCOMPRESSED:
        ratios = [row["cpu"] / case["bare"] for row in ours.values()]
        yield "CPU a request, of decode + resize + network", BARE, each(ratios), max(ratios) <= BARE
    if name in CPU:
        python = [(ours[row["conc"]], row) for row in peers if row["target"] == "fastapi2" and row["conc"] in ours]
        for promise, figure, allowed in (
            ("CPU a request, of fastapi2's", "cpu", CPU[name]),
            ("memory, of fastapi2's", "pss", MEMORY),
        ):
            ratios = [one[figure] / other[figure] for one, other in python]
            yield promise, allowed, each(ratios), max(ratios) <= allowed if ratios else None
        yield from crowded(ours.get(CROWD), [row for row in peers if row["conc"] == CROWD], case["missing"])
    errors = sum(row["err"] for row in rows if row["target"] == "osteon")
    yield "errors", 0, errors, errors == 0
    yield "idle, of a core", f"{IDLE:.1%}", f"{case['idle']:.2%}", case["idle"] < IDLE


def crowded(one, peers, missing):
    """Beside the best of the peers in each figure; which of them is absent is said, for it might have been the best."""
    without = f" (without {', '.join(missing)})" if missing else ""
    promised = (f"throughput at {CROWD}, of the best peer's", f"p99 at {CROWD}, of the best peer's")
    if not one or not peers:
        yield promised[0], THROUGHPUT, f"-{without}", None
        yield promised[1], TAIL, f"-{without}", None
        return
    most, least = max(peers, key=lambda row: row["rps"]), min(peers, key=lambda row: row["p99"])
    ratio = one["rps"] / most["rps"]
    yield promised[0], THROUGHPUT, f"{ratio:.2f} of {most['target']}{without}", ratio >= THROUGHPUT
    ratio = one["p99"] / least["p99"]
    yield promised[1], TAIL, f"{ratio:.2f} of {least['target']}{without}", ratio < TAIL


def each(values):
    return ", ".join(f"{value:.2f}" for value in values) or "-"
