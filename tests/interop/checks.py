"""Checks: how one is marked, how they are run, and the table of what came of them."""

import dataclasses
import importlib
import time
import traceback

registered = {}


@dataclasses.dataclass
class Outcome:
    counterpart: str
    what: str
    reason: str  # empty when it holds
    note: str
    seconds: float

    @property
    def failed(self):
        return bool(self.reason)


def check(what):
    """Marks a function of a `with_*` module: it takes the stage, raises what does not hold, and may return a note."""

    def mark(function):
        registered.setdefault(function.__module__, []).append((what, function))
        return function

    return mark


def run(counterparts, stage):
    """Runs the checks of each counterpart in the order in which they stand; one line for each."""
    outcomes = []
    for counterpart in counterparts:
        module = f"with_{counterpart}"
        importlib.import_module(module)
        for what, function in registered[module]:
            started = time.monotonic()
            reason, note = "", ""
            try:
                note = function(stage) or ""
            except Exception as error:  # whatever a counterpart's library throws is its way to say no
                reason = told(error)
                stage.note(traceback.format_exc())
            outcome = Outcome(counterpart, what, reason, note, time.monotonic() - started)
            word = "FAIL" if outcome.failed else "PASS"
            said = reason or note
            print(f"{word} {counterpart}: {what}{': ' if said else ''}{said}", flush=True)
            outcomes.append(outcome)
    return outcomes


def told(error):
    """What an error says, in one line; an assertion without words is shown as its source."""
    words = " ".join(str(error).split())
    if isinstance(error, AssertionError) and not words:
        words = traceback.extract_tb(error.__traceback__)[-1].line or "it does not hold"
    return words if isinstance(error, AssertionError) and words else f"{type(error).__name__}: {words}"


def table(outcomes):
    print(f"\n{'counterpart':16} {'passed':>6} {'failed':>6} {'seconds':>8}")
    for counterpart in dict.fromkeys(outcome.counterpart for outcome in outcomes):
        own = [outcome for outcome in outcomes if outcome.counterpart == counterpart]
        failed = sum(outcome.failed for outcome in own)
        seconds = sum(outcome.seconds for outcome in own)
        print(f"{counterpart:16} {len(own) - failed:6} {failed:6} {seconds:8.1f}")


def equal(what, found, wanted):
    """Asserts equality and says both sides."""
    assert found == wanted, f"{what} is {found!r}, not {wanted!r}"
