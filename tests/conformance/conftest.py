"""Prints, at the end, how far each framework and this library are from float64."""

from tests.conformance.harness import record


def pytest_terminal_summary(terminalreporter):
    if record:
        terminalreporter.section("largest error against the wider type, in ulp")
        for (name, direction, dtype), (sets, theirs, ours) in sorted(record.items()):
            line = f"{name} {direction} {dtype}: {sets} sets, {name} {theirs:.2f}, numba_lrn {ours:.2f}"
            terminalreporter.write_line(line)
