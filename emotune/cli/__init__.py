"""The command line: the program ``emotune``.

A module ``cli/NAME.py`` declares a command: its options and its help page. It imports nothing heavy, so that
``emotune NAME --help`` is printed quickly. What the command does is in ``cli/actions/`` (a short command needs no
module there), and is imported inside the command's function. To add a command, write its module and add it to
`COMMANDS`.
"""

import atexit
import gc
import importlib
import logging
import signal
import sys

import click

from emotune.cli.output import SafeFormatter, discard_answers, print_error
from emotune.errors import EmotuneError, SettingsError, suggestion
from emotune.waiting import logger as waiting_logger

COMMANDS = {
    "data": ("emotune.cli.data", "Prepare and describe segment stores."),
    "search": ("emotune.cli.search", "Search for the best configuration of a study."),
    "status": ("emotune.cli.status", "Print one line per search, or all evaluations of one."),
    "resume": ("emotune.cli.resume", "Resume a search or run with its recorded settings."),
    "stop": ("emotune.cli.status", "Stop a running search."),
    "best": ("emotune.cli.status", "Write the best configuration as an experiment."),
    "pretrain": ("emotune.cli.pretrain", "Pre-train a model, with one or several workers."),
    "finetune": ("emotune.cli.finetune", "Fine-tune a pre-trained encoder."),
    "crossval": ("emotune.cli.crossval", "Cross-validate an experiment."),
    "scores": ("emotune.cli.scores", "Print test scores by person and by trial."),
    "fuse": ("emotune.cli.fuse", "Compute fusion features with ECG and EEG models."),
    "predict": ("emotune.cli.predict", "Predict arousal and valence of a recording."),
    "export": ("emotune.cli.export", "Export an encoder or a classifier."),
    "reproduce": ("emotune.cli.reproduce", "Reproduce a table of the papers."),
    "verify": ("emotune.cli.verify", "Train a configuration again and compare."),
    "report": ("emotune.cli.report", "Write an HTML page about a search."),
    "compare": ("emotune.cli.report", "Compare the scores of several runs."),
    "sync": ("emotune.cli.report", "Send missing records to MLflow."),
    "ui": ("emotune.cli.ui", "Show searches in MLflow."),
    "doctor": ("emotune.cli.doctor", "Check installation, services and settings."),
}
"""Module and one sentence by command, in the order of the help page."""


EXIT_CODES = """\b
Exit codes:
  0    done; also if there was nothing left to do
  1    failed: a check, evaluations without a result, Ray, a disk or a server
  2    a mistake in the command, a file or a setting; or the search is running
  130, 143, 129   ended in order by Ctrl-C (or stop --now), SIGTERM or SIGHUP
"""
"""End of every help page."""

COMPLETION = """\b
Completion of commands and options; put the line into the shell's start file:
  bash   eval "$(_EMOTUNE_COMPLETE=bash_source emotune)"
  zsh    eval "$(_EMOTUNE_COMPLETE=zsh_source emotune)"
  fish   _EMOTUNE_COMPLETE=fish_source emotune | source
"""
"""Part of the help page of the program."""


def with_exit_codes(command: click.Command) -> click.Command:
    """Return a command whose help page, and those of its commands, end with the exit codes."""
    command.epilog = command.epilog or EXIT_CODES
    if isinstance(command, click.Group) and not isinstance(command, Commands):
        for child in command.commands.values():
            with_exit_codes(child)
    return command


class Commands(click.Group):
    """The commands of `COMMANDS`, each imported when it is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names in the order of the table."""
        del ctx
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command; None if there is none of that name."""
        del ctx
        if cmd_name not in COMMANDS:
            return None
        return with_exit_codes(getattr(importlib.import_module(COMMANDS[cmd_name][0]), cmd_name))

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command of a command line; a mistyped one is answered with the nearest name.

        Raises:
            SettingsError: There is no such command.
        """
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            near = suggestion(args[0], among=COMMANDS) or f"; give one of: {', '.join(COMMANDS)}"
            raise SettingsError(f"No such command {args[0]!r}{near}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without importing them."""
        del ctx
        with formatter.section("Commands"):
            formatter.write_dl([(name, sentence) for name, (_, sentence) in COMMANDS.items()])


@click.group(
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=f"{COMPLETION}\n{EXIT_CODES}",
)
@click.version_option(package_name="emotune")
def emotune() -> None:
    """Hyperparameter search for self-supervised Transformers on ECG and EEG.

    \b
    Example:
      emotune data prepare synthetic --store stores/demo
      emotune search smoke --store stores/demo --name first
      emotune status first
    """


def main() -> None:
    """Run the program."""
    run_command(emotune)


def _print_waiting() -> None:
    """Print what a command waits for, without a level, on stderr."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(SafeFormatter("%(message)s"))
    waiting_logger.handlers = [handler]
    waiting_logger.setLevel(logging.INFO)
    waiting_logger.propagate = False


def run_command(command: click.Command) -> None:
    """Run a command and exit: with 0, with 2 and one line for a user's mistake, with 1 for any other error."""
    atexit.register(gc.freeze)  # else the last garbage collection spends seconds on objects that live to the end
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(SafeFormatter("%(levelname)s: %(message)s"))
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
    _print_waiting()
    # --trials-per-gpu auto logs the number it measured.
    logging.getLogger("emotune.runtime.cluster.gpu_sharing").setLevel(logging.INFO)
    try:
        code = _exit_code(command)
    except SystemExit as error:
        if error.code != signal.SIGTERM:
            raise
        # While Ray starts, and between the stages of a table, SIGTERM is handled by Ray, which exits with 15.
        print_error("interrupted by SIGTERM; give the same command again")
        code = 128 + signal.SIGTERM
    sys.exit(code)


def _exit_code(command: click.Command) -> int:
    """Run a command, print its error as one line, and return its exit code."""
    try:
        code = with_exit_codes(command).main(standalone_mode=False)
        sys.stdout.flush()
    except EmotuneError as error:
        print_error(str(error))
        code = error.exit_code
    except BrokenPipeError:  # the program that reads the answer has ended, such as head
        discard_answers()
        code = 1
    except OSError as error:
        if error.filename is None:  # a write to an open file, such as standard output on a full disk
            discard_answers()
        print_error(f"{error.filename or 'the output'}: {error.strerror or error}")
        code = 1
    except click.ClickException as error:
        print_error(" ".join(error.format_message().split()))
        code = 2
    except (click.Abort, KeyboardInterrupt):
        print_error("interrupted")
        code = 130
    return code if isinstance(code, int) else 0
