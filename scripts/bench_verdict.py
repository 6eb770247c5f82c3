"""What is allowed beside what was measured: the table that scripts/bench ends with."""

# the most of the processor time of FastAPI with two workers, by case
CPU = {"raw": 0.6, "densenet": 0.6, "jll": 0.45, "j2k": 0.15}
BARE, MEMORY, THROUGHPUT, TAIL, IDLE, TENSORS = 1.15, 0.25, 2.0, 0.5, 0.005, 0.8


def table(measured):
    """Prints a row for each promise and case; the worst concurrency counts."""
    print("\n| promise | case | allowed | measured | |\n|---|---|---|---|---|")
    for case in measured:
        for promise, allowed, value, met in promises(case):
            print(f"| {promise} | {case['case']} | {allowed} | {value} | {'met' if met else '**not met**'} |")


def promises(case):
    name, rows = case["case"], case["rows"]
    concurrencies = sorted({row["conc"] for row in rows})
    at = lambda target, conc: next((r for r in rows if r["target"] == target and r["conc"] == conc), None)
    ours = [row for row in rows if row["target"] == "osteon"]
    if name == "tensors":
        over = min(row["cpu"] for row in ours) - case["bare"]
        yield "CPU over the bare network", f"{TENSORS} ms", f"{over:.2f} ms", over < TENSORS
    elif case["stages"]:
        bare = case["bare"] + sum(case["stages"][stage] for stage in ("parse", "decode", "preprocess"))
        best = min(row["cpu"] for row in ours) / bare
        if name == "raw":
            yield "CPU over decode + resize + network", BARE, f"{best:.2f} (bare sum {bare:.1f} ms)", best <= BARE
    both = [(at("osteon", conc), at("fastapi2", conc)) for conc in concurrencies]
    both = [(one, other) for one, other in both if other]
    if both and name in CPU:
        ratios = [one["cpu"] / other["cpu"] for one, other in both]
        each = ", ".join(f"{ratio:.2f}" for ratio in ratios)
        yield "CPU a request, of FastAPI's", CPU[name], each, max(ratios) <= CPU[name]
        ratios = [one["pss"] / other["pss"] for one, other in both]
        yield "memory, of FastAPI's", MEMORY, ", ".join(f"{r:.2f}" for r in ratios), max(ratios) <= MEMORY
    crowd = [row for row in rows if row["conc"] == 64 and row["target"] != "osteon" and row["n"]]
    if crowd and name != "tensors":
        one = at("osteon", 64)
        most, least = max(row["rps"] for row in crowd), min(row["p99"] for row in crowd)
        yield "throughput at 64, of the best peer's", THROUGHPUT, f"{one['rps'] / most:.2f}", one["rps"] >= THROUGHPUT * most
        yield "p99 at 64, of the best peer's", TAIL, f"{one['p99'] / least:.2f}", one["p99"] <= TAIL * least
    errors = sum(row["err"] for row in ours)
    yield "errors", 0, errors, errors == 0
    yield "idle, of a core", f"{IDLE:.1%}", f"{case['idle']:.2%}", case["idle"] <= IDLE
