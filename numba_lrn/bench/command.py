"""The commands ``bench`` and ``check``: arguments in, exit status out."""

import argparse
import contextlib
import math
import pathlib
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from typing import Any

import numba

from numba_lrn.bench import compare as comparison
from numba_lrn.bench.cases import (
    CASES,
    DIRECTIONS,
    DTYPES,
    LAYOUTS,
    USUAL,
    BadArgumentError,
    Case,
    nearest,
    parse_names,
    parse_shape,
    quick,
    select,
)
from numba_lrn.bench.check import COLUMNS, QUICK_SUITES, SUITES, Checked, check
from numba_lrn.bench.devices import DEVICES, Cpu, Cuda, set_threads
from numba_lrn.bench.environment import environment
from numba_lrn.bench.peers import CPU_PEERS, FRONTENDS, PEERS, Peers, parse_frontends, parse_peers, parse_pythons
from numba_lrn.bench.plot import check_plot, draw
from numba_lrn.bench.report import Report, plain_table, print_rich_table
from numba_lrn.bench.run import Bench, Settings, Skipped, plain_progress

OK, WRONG, BAD_ARGUMENT, INTERRUPTED = 0, 1, 2, 130

BENCH_EPILOG = f"""\
Columns: first call (with compilation) apart; median; spread (interquartile range / median); GB/s (bytes moved /
median, each array counted once); × roof (time over that of moving the same bytes and no more, measured in the same
rounds); the largest error against the float64 reference.
Peers for --against: {", ".join(PEERS)}; all names every one. Absent ones are named with the reason.
Exit status: 0; 1 for wrong results; 2 for wrong arguments; 130 when interrupted.
Examples:
  numba-lrn bench --quick
  numba-lrn bench --match alexnet --against torch,onnxruntime --plot alexnet.png
  numba-lrn bench --shape 32,128,28,28 --size 7 --alpha 1 --dtype float32,float16 --layout nchw,nhwc
  numba-lrn bench compare before.json after.json --fail-above 1.1
"""


def add_bench_parser(subparsers: Any) -> None:
    """Add the command ``bench``; its ``run`` takes the namespace and returns the exit status."""
    parser = subparsers.add_parser(
        "bench",
        help="time this library on this machine, beside the memory roof and other implementations",
        description="Time Local Response Normalization on shapes of real networks, and check the results.",
        epilog=BENCH_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(run=run_bench)
    cases = parser.add_argument_group("cases")
    cases.add_argument("--list", action="store_true", help="print the cases and end")
    cases.add_argument("--match", metavar="REGEX", help="cases whose name or group matches")
    cases.add_argument("--quick", action="store_true", help="layers of AlexNet and GoogLeNet, in about a minute")
    cases.add_argument("--shape", metavar="N,C,H,W", help="a shape of one's own, written channels first")
    cases.add_argument("--size", type=int, help="window size for --shape")
    cases.add_argument("--alpha", type=float, help="for --shape; divided by the window's elements (default 1)")
    cases.add_argument("--beta", type=float, help="for --shape (default 0.75)")
    cases.add_argument("--k", type=float, help="for --shape (default 1)")
    cases.add_argument("--within", action="store_true", help="for --shape: the window lies within each channel")
    cases.add_argument("--layout", metavar="LIST", help=f"of {', '.join(LAYOUTS)} (default: those of the case)")
    cases.add_argument("--dtype", metavar="LIST", help=f"of {', '.join(DTYPES)} (default: those of the case)")
    cases.add_argument(
        "--direction",
        metavar="LIST",
        default=",".join(USUAL),
        help=f"of {', '.join(DIRECTIONS)} (default: {', '.join(USUAL)})",
    )
    how = parser.add_argument_group("how")
    how.add_argument("--backend", metavar="LIST", default="cpu", help=f"of {', '.join(DEVICES)} (default: cpu)")
    how.add_argument("--threads", type=int, help="threads for everyone (default: all)")
    how.add_argument("--min-time", type=float, metavar="S", help="seconds of samples for each row (default 0.5)")
    how.add_argument("--max-noise", type=float, metavar="F", help="noise to reach, of the median (default 0.02)")
    how.add_argument("--no-out", action="store_true", help="let each call allocate its result")
    how.add_argument("--no-check", action="store_true", help="do not compare with the reference")
    how.add_argument("--frontend", metavar="LIST", help=f"also the calls through {', '.join(FRONTENDS)}")
    _add_peers(how)
    output = parser.add_argument_group("output (FILE may be - for standard output, in place of the table)")
    for option in ("--json", "--csv", "--markdown"):
        output.add_argument(option, metavar="FILE")
    output.add_argument("--plot", metavar="FILE", help="a figure, .png, .svg or .pdf")
    nested = parser.add_subparsers(metavar="compare", dest="compare", title="two results side by side")
    _name_nearest_option(parser)
    compare = nested.add_parser("compare", help="bench compare A.json B.json: ratios with their uncertainty")
    compare.set_defaults(run=run_compare)
    compare.add_argument("first", type=pathlib.Path)
    compare.add_argument("second", type=pathlib.Path)
    compare.add_argument("--by", choices=("time", "roof"), default="time", help="compare times, or times over the roof")
    compare.add_argument(
        "--fail-above", type=_ratio, metavar="RATIO", help="exit with 1 if a ratio is above and its interval clear of 1"
    )
    _name_nearest_option(compare)


def add_check_parser(subparsers: Any) -> None:
    """Add the command ``check``; its ``run`` takes the namespace and returns the exit status."""
    parser = subparsers.add_parser(
        "check",
        help="compare every operation, dtype and layout with the reference",
        description="Correctness alone: the largest errors against the float64 reference, in ulp of the dtype.",
        epilog="Exit status: 0; 1 for wrong results; 2 for wrong arguments; 130 when interrupted.",
    )
    parser.set_defaults(run=run_check)
    parser.add_argument("--quick", action="store_true", help="the main kernels only, in about half a minute")
    parser.add_argument("--threads", type=int, help="threads for everyone (default: all)")
    _add_peers(parser)
    _name_nearest_option(parser)


def _name_nearest_option(parser: argparse.ArgumentParser) -> None:
    """Let the parser name the nearest options for one that it does not know."""
    parse = parser.parse_known_args
    known = [option for action in parser._actions for option in action.option_strings if option.startswith("--")]

    def checked(args: Any = None, namespace: Any = None) -> Any:
        for argument in args or ():
            name = argument.partition("=")[0]
            if name.startswith("--") and name != "--" and not any(option.startswith(name) for option in known):
                parser.error(f"unknown option {name}{nearest(name, known)}")
            if name == "compare":  # what follows is for the parser of that command
                break
        return parse(args, namespace)

    parser.parse_known_args = checked  # type: ignore[method-assign]


def _add_peers(parser: Any) -> None:
    parser.add_argument("--against", metavar="LIST", help=f"peers, of {', '.join(PEERS)}; or all")
    parser.add_argument(
        "--peer-python",
        metavar="NAME=PYTHON",
        action="append",
        default=[],
        help="the Python in whose environment a peer is installed, if not this one",
    )


def run_bench(options: argparse.Namespace) -> int:
    """``numba-lrn bench``."""
    if options.list:
        print(list_cases())
        return OK
    try:
        cases = choose_cases(options)
        devices = [_device(name) for name in parse_names(options.backend, tuple(DEVICES), "--backend")]
        names = parse_frontends(options.frontend) if options.frontend else ()
        names += parse_peers(options.against) if options.against else ()
        pythons = parse_pythons(options.peer_python)
        settings = _settings(options)
        _check_outputs(options)
    except BadArgumentError as error:
        return _refuse("bench", error)
    set_threads(settings.threads)
    env = environment(devices[0], settings.threads)
    report = Report(env, {**asdict(settings), "quick": options.quick}, [], [])
    interrupted = False
    with contextlib.ExitStack() as stack:
        progress = stack.enter_context(_progress())
        try:
            for device in devices:
                peers = Peers(names, device.name, settings.threads, pythons)
                stack.callback(peers.close)
                bench = Bench(device, settings, peers)
                report.rows, report.skipped = bench.rows, bench.skipped
                bench.run(cases, progress)
                report.settings["peers"] = peers.versions
        except KeyboardInterrupt:
            interrupted, report.complete = True, False
    _write(report, options)
    if interrupted:
        return INTERRUPTED
    if report.wrong:
        print(f"numba-lrn bench: {len(report.wrong)} results are WRONG", file=sys.stderr)
        return WRONG
    return OK if report.rows else _refuse("bench", BadArgumentError("nothing could be measured; the reasons are above"))


def run_compare(options: argparse.Namespace) -> int:
    """``numba-lrn bench compare``."""
    try:
        first, second = (Report.from_json(path.read_text(), str(path)) for path in (options.first, options.second))
    except (BadArgumentError, OSError, UnicodeDecodeError) as error:
        return _refuse("bench compare", error)
    print(comparison.render(first, second, options.by), end="")
    changes, _ = comparison.compare(first, second, options.by)
    if not changes:
        return _refuse("bench compare", BadArgumentError("the two results have no row in common"))
    if options.fail_above is None:
        return OK
    beyond = comparison.slower(first, second, options.fail_above, options.by)
    for change in beyond:
        print(f"above {options.fail_above:g}: {change.first.label}: {change.ratio:.3f}", file=sys.stderr)
    return WRONG if beyond else OK


def run_check(options: argparse.Namespace) -> int:
    """``numba-lrn check``."""
    try:
        against = options.against or ("" if options.quick else "all")
        names = parse_peers(against) if against else ()
        pythons = parse_pythons(options.peer_python)
        threads = _threads(options.threads)
    except BadArgumentError as error:
        return _refuse("check", error)
    set_threads(threads)
    found, interrupted = Checked(), False
    peers = Peers(tuple(name for name in names if name in CPU_PEERS), "cpu", threads, pythons)
    found.skipped += [Skipped(name, "all", "runs on CUDA devices only") for name in names if name not in CPU_PEERS]
    with contextlib.ExitStack() as stack:
        progress = stack.enter_context(_progress())
        stack.callback(peers.close)
        try:
            check(QUICK_SUITES if options.quick else SUITES, peers, progress, found)
        except KeyboardInterrupt:
            interrupted = True
    _print_check(found, interrupted)
    if interrupted:
        return INTERRUPTED
    wrong = [line for line in found.lines if line.wrong]
    print(f"{len(found.lines)} rows, {len(wrong)} wrong")
    return WRONG if wrong else OK


def _print_check(found: Checked, interrupted: bool) -> None:
    lines = [line.cells() for line in found.lines]
    console = _console(sys.stdout)
    if console is None:
        print(plain_table(COLUMNS, lines))
    else:
        print_rich_table(console, COLUMNS, lines, ["bold red" if line.wrong else "" for line in found.lines])
    print(
        "\nerror: the largest against a float64 reference (longdouble for float64), in ulp of the dtype; "
        "for derivatives, ulp of the sum of the absolute terms"
    )
    report = Report({}, {}, [], found.skipped, complete=not interrupted)
    for text in report.remarks():
        print(text)


def list_cases() -> str:
    """The cases, one a line."""
    quick_names = {case.name for case in quick()}
    lines = [
        f"{case.group:9s} {case.name:16s} {case.describe()}; {','.join(case.layouts)}; {','.join(case.dtypes)}"
        + ("  [quick]" if case.name in quick_names else "")
        for case in CASES
    ]
    return "\n".join(lines)


def choose_cases(options: argparse.Namespace) -> tuple[Case, ...]:
    """The cases of --match, --quick and --shape."""
    if options.shape is not None:
        return (_own_case(options),)
    for name in ("size", "alpha", "beta", "k", "within"):
        if getattr(options, name) not in (None, False):
            msg = f"--{name} belongs to --shape; the cases have their own (--list)"
            raise BadArgumentError(msg)
    cases = quick() if options.quick else CASES
    return select(options.match, cases) if options.match else cases


def _own_case(options: argparse.Namespace) -> Case:
    if options.match or options.quick:
        msg = "--shape cannot be combined with --match or --quick"
        raise BadArgumentError(msg)
    shape = parse_shape(options.shape)
    if options.size is None:
        msg = "--shape needs --size, the elements of the window"
        raise BadArgumentError(msg)
    if options.size < 1:
        msg = f"--size must be at least 1, got {options.size}"
        raise BadArgumentError(msg)
    if options.within and len(shape) < 3:
        msg = f"--within needs a shape with spatial extents, as N,C,H,W; got {options.shape}"
        raise BadArgumentError(msg)
    case = Case("own", "own", shape, options.size, within=options.within)
    given = {name: getattr(options, name) for name in ("alpha", "beta", "k") if getattr(options, name) is not None}
    for name, value in given.items():
        if not abs(value) < float("inf"):
            msg = f"--{name} must be finite, got {value}"
            raise BadArgumentError(msg)
    return replace(case, **given)


def _device(name: str) -> Cpu | Cuda:
    device = DEVICES[name]
    reason = device.unavailable()
    if reason:
        msg = f"--backend {name}: {reason}"
        raise BadArgumentError(msg)
    return device


def _settings(options: argparse.Namespace) -> Settings:
    min_time = options.min_time if options.min_time is not None else 0.1 if options.quick else 0.5
    max_noise = options.max_noise if options.max_noise is not None else 0.1 if options.quick else 0.02
    if not 0 < min_time < 3600:
        msg = f"--min-time must be between 0 and 3600 seconds, got {min_time:g}"
        raise BadArgumentError(msg)
    if not 0 < max_noise < 1:
        msg = f"--max-noise must be between 0 and 1, got {max_noise:g}; 0.02 is 2 %"
        raise BadArgumentError(msg)
    return Settings(
        directions=parse_names(options.direction, DIRECTIONS, "--direction"),
        layouts=parse_names(options.layout, LAYOUTS, "--layout") if options.layout else None,
        dtypes=parse_names(options.dtype, DTYPES, "--dtype") if options.dtype else None,
        threads=_threads(options.threads),
        min_time=min_time,
        max_noise=max_noise,
        check=not options.no_check,
        use_out=not options.no_out,
        repeats=0 if options.quick else Settings.repeats,
    )


def _ratio(text: str) -> float:
    try:
        ratio = float(text)
    except ValueError:
        ratio = math.nan
    if math.isfinite(ratio) and ratio > 0:
        return ratio
    msg = f"expected a ratio above 0, such as 1.1, got {text!r}"
    raise argparse.ArgumentTypeError(msg)


def _threads(asked: int | None) -> int:
    most = numba.config.NUMBA_NUM_THREADS
    if asked is None:
        return int(most)
    if not 1 <= asked <= most:
        msg = f"--threads must be between 1 and {most}, got {asked}; NUMBA_NUM_THREADS in the environment allows others"
        raise BadArgumentError(msg)
    return asked


def _check_outputs(options: argparse.Namespace) -> None:
    """Refuse a file that cannot be written before anything is run."""
    for option in ("json", "csv", "markdown", "plot"):
        if getattr(options, option) in (None, "-"):
            continue
        path = pathlib.Path(getattr(options, option))
        if not path.resolve().parent.is_dir():
            msg = f"--{option} {path}: there is no folder {path.parent}"
            raise BadArgumentError(msg)
        if path.exists() and not (path.is_file() or path.is_dir()):
            continue  # a device, or a pipe, whose opening may wait for a reader
        is_new = not path.exists()
        try:
            path.open("a").close()
        except OSError as error:
            msg = f"--{option} {path} cannot be written: {error.strerror}"
            raise BadArgumentError(msg) from None
        if is_new:
            path.resolve().unlink()
    if options.plot:
        check_plot(options.plot)


def _write(report: Report, options: argparse.Namespace) -> None:
    """The table on the terminal, first, then the files that were asked for."""
    texts: dict[str, Callable[[], str]] = {
        "json": lambda: report.to_json() + "\n",
        "csv": report.to_csv,
        "markdown": report.to_markdown,
    }
    paths = {option: getattr(options, option) for option in texts}
    if "-" not in paths.values():
        console = _console(sys.stdout)
        if console is None:
            sys.stdout.write(report.to_plain())
        else:
            report.print_rich(console)
    for option, text in texts.items():
        path = paths[option]
        if path == "-":
            sys.stdout.write(text())
        elif path:
            pathlib.Path(path).write_text(text())
    if options.plot and report.rows:
        draw(report, options.plot)


def _refuse(command: str, error: Exception) -> int:
    print(f"numba-lrn {command}: error: {error}", file=sys.stderr)
    return BAD_ARGUMENT


def _console(stream: Any) -> Any:
    """A rich console where the stream is a terminal and rich is installed, else None."""
    if not stream.isatty():
        return None
    try:
        from rich.console import Console
    except ImportError:
        return None
    return Console(file=stream)


@contextlib.contextmanager
def _progress() -> Iterator[Callable[[str, int, int], None]]:
    """A bar on standard error where that is a terminal, else a line for each step."""
    console = _console(sys.stderr)
    if console is None:
        yield plain_progress
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (MofNCompleteColumn(), BarColumn(), TimeElapsedColumn(), TextColumn("{task.description}"))
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("")

        def tell(label: str, done: int, steps: int) -> None:
            bar.update(task, description=label, completed=done, total=steps)

        yield tell
