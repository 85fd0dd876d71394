"""The command line: which command, its arguments, and every error as one line with an exit status."""

import argparse
import contextlib
import os
import re
import sys
from collections.abc import Sequence
from typing import NoReturn

from numba_lrn import __version__

PROGRAM = "numba-lrn"
INTERRUPTED = 130  # what a shell reports for Ctrl-C
CLOSED_PIPE = 141  # and for a reader that went away
# Distributions that give these modules all come with one extra.
BENCH_MODULES = {"rich", "matplotlib", "PIL", "ml_dtypes"}
SUMMARIES = {
    "bench": "measure the speed on this machine, with a check of the results",
    "check": "compare results with the reference, and with frameworks found here",
    "apply": "normalise a .npy file of any size, or a picture",
    "info": "print what a bug report needs: versions, threads, SIMD, cache, GPU",
}

EPILOG = """\
examples:
  numba-lrn bench --quick
  numba-lrn check --quick
  numba-lrn apply activations.npy normalised.npy --size 5 --alpha 1e-4 --beta 0.75 --k 2
  numba-lrn apply photo.jpg photo-lrn.png --within-channel --size 61 --alpha 30 --beta 0.5
  numba-lrn info
`python -m numba_lrn` is the same command.

environment variables:
  NUMBA_LRN_CACHE=0       keep no compiled kernels on disk
  NUMBA_LRN_PARALLEL=0    run on the calling thread only
  NUMBA_LRN_REUSE=0       leave the memory of results to NumPy
  NUMBA_LRN_DEBUG=1       print on standard error which path each call takes
                          (on a GPU: the first call of each kind)
  NUMBA_NUM_THREADS=N     Numba's: how many threads at most
  NUMBA_CACHE_DIR=FOLDER  Numba's: where compiled kernels are kept

exit status: 0 success; 1 wrong or regressed results (bench, check); 2 an error in what was given; 130 Ctrl-C.
"""

APPLY_DESCRIPTION = """\
y = x * (k + alpha * M) ** -beta, with M the mean of x**2 over a window of SIZE elements along the axis; beyond the
border there are zeros. An even SIZE has its extra element before the centre, as in PyTorch.
"""

APPLY_EPILOG = """\
.npy files
  The file is mapped and processed block by block, so it may be larger than memory. float16, float32 and float64 are
  computed and written as they are, in their memory order (C or Fortran); --dtype converts first, integers too.

pictures (.png, .jpg, .jpeg; need Pillow: pip install 'numba-lrn[bench]')
  Values 0 to 255 become 0 to 1, in the shape (height, width, channels): M lies between 0 and 1, and alpha says how
  strongly a bright neighbourhood dims a pixel: beside k = 1, 1e-4 changes nothing that can be seen, 1 to 100 does.
  The result is rescaled to be looked at: its 0.5th to 99.5th percentile over all channels becomes 0 to 255. Grey
  pictures have one channel (give --within-channel); transparency is kept as it is.

OUTPUT appears only when it is complete, and an older file of that name stays until then.

examples:
  numba-lrn apply activations.npy normalised.npy --size 5 --alpha 1e-4 --beta 0.75 --k 2
  numba-lrn apply nhwc.npy normalised.npy --axis -1 --dtype float32
  numba-lrn apply photo.jpg photo-lrn.png --within-channel --size 61 --alpha 30 --beta 0.5
"""


class Parser(argparse.ArgumentParser):
    """Errors in one line, without the usage that would push it out of sight."""

    def error(self, message: str) -> NoReturn:
        """Say what is wrong and where to read more; exit status 2."""
        self.exit(2, f"{self.prog}: error: {message} (see {self.prog} --help)\n")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status.

    Parameters
    ----------
    argv : sequence of str, optional
        The arguments; those of the process where none are given.

    Returns
    -------
    int
        0 success, 1 wrong or regressed results, 2 an error in what was given, 130 Ctrl-C.

    Examples
    --------
    >>> main(["apply", "missing.npy", "out.npy"])  # with the reason on standard error
    2
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        if not arguments:
            make_parser(arguments).print_help(sys.stderr)
            return 2
        options = make_parser(arguments).parse_args(_join_negative_values(arguments))
        status: int = options.run(options)
        if sys.stdout is not None:  # as it is where it was closed
            sys.stdout.flush()
    except SystemExit as stop:  # argparse's way to end: --help, --version, an error
        return stop.code if isinstance(stop.code, int) else 2
    except ImportError as error:
        if error.name is None or error.name.partition(".")[0] not in BENCH_MODULES:
            raise
        print(f"{PROGRAM}: error: {error.name} is not installed: pip install 'numba-lrn[bench]'", file=sys.stderr)
        return 2
    except BrokenPipeError:  # as of `| head`, which has seen enough; nothing more may be written, at exit neither
        _write_no_more()
        return CLOSED_PIPE
    except OSError as error:  # as of a full disk
        if os.environ.get("NUMBA_LRN_DEBUG", "0") != "0":
            raise
        try:
            if sys.stdout is not None:
                sys.stdout.flush()
        except (OSError, ValueError):
            _write_no_more()
        print(f"{PROGRAM}: error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"{PROGRAM}: interrupted", file=sys.stderr)
        return INTERRUPTED
    return status


def _write_no_more() -> None:
    """Let what is left for standard output go nowhere, at exit too."""
    with contextlib.suppress(AttributeError, OSError, ValueError):  # it was closed
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def make_parser(arguments: Sequence[str]) -> Parser:
    """The parser for ``arguments``: the benchmark's own are made only if a command of it is called."""
    parser = Parser(
        prog=PROGRAM,
        description="Local Response Normalization: measure it, check it, apply it to files.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"{PROGRAM} {__version__}")
    commands = parser.add_subparsers(
        title="commands", metavar="COMMAND", required=True, help=f"`{PROGRAM} COMMAND --help` lists its options"
    )
    if arguments and arguments[0] in ("bench", "check"):
        from numba_lrn.bench.command import add_bench_parser, add_check_parser

        add_bench_parser(commands)
        add_check_parser(commands)
    else:
        commands.add_parser("bench", help=SUMMARIES["bench"])
        commands.add_parser("check", help=SUMMARIES["check"])
    _add_apply_parser(commands)
    info = commands.add_parser("info", help=SUMMARIES["info"], description=SUMMARIES["info"])
    info.set_defaults(run=_info)
    return parser


def _add_apply_parser(commands: "argparse._SubParsersAction[Parser]") -> None:
    parser = commands.add_parser(
        "apply",
        help=SUMMARIES["apply"],
        description=APPLY_DESCRIPTION,
        epilog=APPLY_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("input", metavar="INPUT", help="a .npy file, or a picture: .png, .jpg or .jpeg")
    parser.add_argument("output", metavar="OUTPUT", help="where the result goes; a file of the same sort as INPUT")
    parser.add_argument(
        "--size",
        type=_integers,
        default=5,
        metavar="N[,N]",
        help="elements of the window along each axis (default: 5)",
    )
    parser.add_argument("--alpha", type=float, default=1e-4, help="default: 1e-4")
    parser.add_argument("--beta", type=float, default=0.75, help="default: 0.75")
    parser.add_argument("--k", type=float, default=1.0, help="default: 1")
    window = parser.add_mutually_exclusive_group()
    window.add_argument(
        "--axis",
        type=_integers,
        metavar="A[,A]",
        help="the windowed axis, or several for a box; negative ones count from the end "
        "(default: the channels; 1 in a .npy file, -1 in a picture)",
    )
    window.add_argument(
        "--within-channel",
        action="store_true",
        help="a box over the height and width of each channel: axes 2,3 of a .npy file of shape (N, C, H, W), "
        "and so on for more dimensions; axes 0,1 of a picture",
    )
    parser.add_argument(
        "--dtype", metavar="DTYPE", help="convert to float16, float32 or float64 before the computation"
    )
    parser.set_defaults(run=_apply)


def _apply(options: argparse.Namespace) -> int:
    from numba_lrn.apply import InputError, apply_file

    try:
        summary = apply_file(
            options.input,
            options.output,
            size=options.size,
            alpha=options.alpha,
            beta=options.beta,
            k=options.k,
            axis=options.axis,
            within_channel=options.within_channel,
            dtype=options.dtype,
        )
    except InputError as error:
        print(f"{PROGRAM} apply: error: {error}", file=sys.stderr)
        return 2
    print(summary)
    return 0


def _info(options: argparse.Namespace) -> int:
    from numba_lrn.config import show_config

    show_config()
    return 0


def _integers(text: str) -> int | tuple[int, ...]:
    """``"5"`` → 5, ``"2,3"`` → (2, 3)."""
    try:
        values = tuple(int(part) for part in text.split(","))
    except ValueError:
        msg = f"expected an integer, or integers separated by commas, got {text!r}"
        raise argparse.ArgumentTypeError(msg) from None
    return values if len(values) > 1 else values[0]


def _join_negative_values(arguments: Sequence[str]) -> list[str]:
    """``--axis -2,-1`` → ``--axis=-2,-1``: argparse takes such values, and -1e-4, for unknown options.

    >>> _join_negative_values(["--axis", "-2,-1", "--alpha", "-1e-4", "--within-channel"])
    ['--axis=-2,-1', '--alpha=-1e-4', '--within-channel']
    """
    joined: list[str] = []
    for argument in arguments:
        if joined and re.fullmatch(r"--[a-z-]+", joined[-1]) and re.fullmatch(r"-[\d.][\d.,e+-]*", argument):
            joined[-1] += f"={argument}"
        else:
            joined.append(argument)
    return joined
