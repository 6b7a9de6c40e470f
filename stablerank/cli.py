"""The command ``stablerank``: results on stdout, progress and errors on stderr.

Exit codes: 0 when all went well, 1 when a certificate was broken, is not accepted or cannot be
checked, 2 for bad input (a damaged file, another model, other clouds) or usage, 130 after Ctrl-C.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from stablerank.interrupts import from_the_keyboard

OK, BROKEN_CERTIFICATE, BAD_INPUT, INTERRUPTED, CLOSED_PIPE = 0, 1, 2, 130, 141


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code.

    Parameters
    ----------
    argv : sequence of str, optional
        The words after ``stablerank``; those of the process by default.

    Returns
    -------
    int
    """
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        arguments = _parser().parse_args(words)
    except SystemExit as stop:  # argparse has printed help, the version, or what is wrong
        return int(stop.code or 0)
    arguments.command_line = shlex.join(["stablerank", *words])
    with from_the_keyboard() as interrupts:
        try:
            code: int = arguments.run(arguments)
            sys.stdout.flush()
        except BaseException as error:
            # compilers and imports of C code turn an interrupt into errors of their own
            if interrupts or isinstance(error, KeyboardInterrupt):
                return _complain("interrupted; nothing was written.", INTERRUPTED)
            if isinstance(error, BrokenPipeError):  # its reader has seen enough, as `head` does
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
                return CLOSED_PIPE
            if isinstance(error, (ValueError, OSError, ModuleNotFoundError)):
                return _complain(str(error), BAD_INPUT)
            raise
    return code


def _demo(arguments: argparse.Namespace) -> int:
    from rich.console import Console

    from stablerank.demo import run_demo

    console, log = Console(), Console(stderr=True)
    changes = {name: getattr(arguments, name) for name in ("n_per_class", "n_points", "n_attacked")}
    summary = run_demo(
        arguments.dataset,
        arguments.quick,
        arguments.output,
        arguments.seed,
        None if arguments.json else console,
        log=log,
        n_jobs=arguments.n_jobs,
        command=arguments.command_line,
        **{name: value for name, value in changes.items() if value is not None},
    )
    if arguments.json:
        _print_json(summary)
    else:
        report = os.path.join(arguments.output, "report.html")
        console.print(
            f"Open [bold]{report}[/] for the figures, and what the numbers mean "
            f"({summary['wall_seconds']:.0f} s).",
            soft_wrap=True,
        )
    if summary["broken"]:
        log.print(
            f"[bold red]{summary['broken']} certificates are broken:[/] a prediction changed "
            f"within its certified radius. Please report this with {arguments.output}.",
            soft_wrap=True,
        )
        return BROKEN_CERTIFICATE
    return OK


def _info(arguments: argparse.Namespace) -> int:
    from stablerank.estimators import StableRankClassifier

    model = StableRankClassifier.load(arguments.model)
    chain = model.stability_
    description: dict[str, Any] = {
        "model": str(arguments.model),
        "bytes": os.path.getsize(arguments.model),
        "classes": [str(name) for name in model.classes_],
        "steps": [
            {"name": name, "kind": type(step).__name__, "parameters": _parameters(step)}
            for name, step in model.pipeline_.steps
        ],
        "constant": chain.constant,
        "chain": chain.to_list(),
    }
    if arguments.json:
        _print_json(description)
        return OK

    from rich.console import Console
    from rich.markup import escape

    from stablerank.report import chain_table

    console = Console()
    size = f"{description['bytes']:,} bytes"
    console.print(f"[bold]{escape(str(arguments.model))}[/], {size}", highlight=False)
    console.print(f"classes: {escape(', '.join(description['classes']))}", highlight=False)
    for step in description["steps"]:
        settings = ", ".join(f"{name}={value}" for name, value in step["parameters"].items())
        console.print(f"{step['name']}: {step['kind']}({escape(settings)})", highlight=False)
    title = f"Constants from {chain.source} to the logits"
    console.print(chain_table(title, chain).to_rich(console.width))
    return OK


def _check(arguments: argparse.Namespace) -> int:
    from stablerank.checker import check_files

    verdict = check_files(arguments.certificates, arguments.model, arguments.clouds)
    if arguments.json:
        _print_json(verdict.to_dict())
    else:
        sys.stdout.write(f"{verdict}\n")
    if verdict.about_files:
        return BAD_INPUT
    return OK if verdict.accepted else BROKEN_CERTIFICATE


@dataclass(frozen=True)
class Command:
    """One word after ``stablerank``: how its arguments are declared, and what runs it."""

    help: str
    examples: str
    declare: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], int]


def _declare_demo(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--dataset",
        choices=("cells", "orbits"),
        default="cells",
        help="outlines of real cells (default), or generated orbits",
    )
    parser.add_argument("--quick", action="store_true", help="less of everything: half a minute")
    parser.add_argument(
        "--output",
        metavar="DIR",
        default="stablerank-demo",
        help="folder for report, figures, models and numbers (default: %(default)s)",
    )
    parser.add_argument(
        "--seed", type=_count(0), default=0, metavar="N", help="of all that is drawn (default: 0)"
    )
    parser.add_argument(
        "--n-jobs", type=int, default=2, metavar="N", help="workers for the diagrams (default: 2)"
    )
    parser.add_argument(
        "--n-attacked",
        type=_count(1),
        metavar="N",
        help="test clouds to attack (default: 60, quick: 30)",
    )
    parser.add_argument("--n-per-class", type=_count(1), metavar="N", help="orbits of each class")
    parser.add_argument("--n-points", type=_count(1), metavar="N", help="points of each orbit")
    _declare_json(parser)


def _declare_info(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "model", metavar="MODEL", help="a file that StableRankClassifier.save wrote"
    )
    _declare_json(parser)


def _declare_check(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("certificates", metavar="FILE", help="a file that Certificates.save wrote")
    parser.add_argument("--model", required=True, metavar="MODEL", help="the model's file")
    parser.add_argument(
        "--clouds",
        required=True,
        metavar="NPZ",
        help="what was certified, by numpy.savez(NPZ, *clouds): clouds, images or matrices; "
        "against changes of diagrams what stablerank.checker.diagram_rows makes of each",
    )
    _declare_json(parser)


def _declare_json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print JSON and nothing else")


COMMANDS = {
    "demo": Command(
        "classify real cells, certify and attack the predictions, write a report",
        "  stablerank demo\n"
        "  stablerank demo --quick --output /tmp/demo\n"
        "  stablerank demo --dataset orbits --n-per-class 100 --seed 1\n"
        "  stablerank demo --quick --json > summary.json",
        _declare_demo,
        _demo,
    ),
    "info": Command(
        "show what a saved model is: classes, steps, and its chain of constants",
        "  stablerank info stablerank-demo/model.srn\n"
        "  stablerank info stablerank-demo/model.srn --json",
        _declare_info,
        _info,
    ),
    "check": Command(
        "derive every claim of a file of certificates again, without torch",
        "  stablerank check stablerank-demo/model.cert.json --model stablerank-demo/model.srn "
        "--clouds stablerank-demo/clouds.npz",
        _declare_check,
        _check,
    ),
}


def _parser() -> argparse.ArgumentParser:
    from stablerank import __version__

    parser = argparse.ArgumentParser(
        prog="stablerank",
        description="Point clouds in, predictions out, each with a certified radius in the units "
        "of the points.",
        epilog="examples:\n" + "\n".join(c.examples.split("\n")[0] for c in COMMANDS.values()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"stablerank {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for name, command in COMMANDS.items():
        child = commands.add_parser(
            name,
            help=command.help,
            description=f"{command.help[0].upper()}{command.help[1:]}.",
            epilog=f"examples:\n{command.examples}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        command.declare(child)
        child.set_defaults(run=command.run)
    return parser


def _count(least: int) -> Callable[[str], int]:
    def count(text: str) -> int:
        if not text.isdecimal() or int(text) < least:
            raise argparse.ArgumentTypeError(f"{text!r} is not an integer >= {least}")
        return int(text)

    return count


def _parameters(step: Any) -> dict[str, Any]:
    """Parameters of a step as plain data, without those that are not set."""
    return {
        name: value if isinstance(value, (bool, int, float, str)) else str(value)
        for name, value in step.get_params(deep=False).items()
        if value is not None
    }


def _print_json(content: Any) -> None:
    sys.stdout.write(json.dumps(content, indent=1) + "\n")


def _complain(message: str, code: int) -> int:
    line = " ".join(message.split())
    sys.stderr.write(f"stablerank: {line}\n")
    return code
