"""The one program: ``emotune``. Commands are loaded when they are called, so that each answers soon."""

import atexit
import gc
import importlib
import logging
import sys

import click
from rich.console import Console

from emotune.errors import EmotuneError

COMMANDS = {
    "data": ("emotune.cli.data", "Prepare and describe segment stores."),
    "search": ("emotune.cli.search", "Search the best configuration of a study."),
    "status": ("emotune.cli.status", "Show all searches, or one in full."),
    "stop": ("emotune.cli.status", "Ask a running search to stop."),
    "best": ("emotune.cli.status", "Write the best configuration as an experiment."),
    "pretrain": ("emotune.cli.pretrain", "Pre-train once, with several workers."),
    "finetune": ("emotune.cli.finetune", "Fine-tune a pre-trained encoder once."),
    "crossval": ("emotune.cli.crossval", "Cross-validate an experiment."),
    "fuse": ("emotune.cli.fuse", "Join what ECG and EEG models make of each moment."),
    "predict": ("emotune.cli.predict", "Tell high from low in one recording."),
    "reproduce": ("emotune.cli.reproduce", "Fill a table of the papers."),
    "report": ("emotune.cli.report", "Write one self-contained page about a search."),
    "compare": ("emotune.cli.report", "Show the scores of several runs side by side."),
    "sync": ("emotune.cli.report", "Deliver to MLflow what it has missed."),
    "doctor": ("emotune.cli.doctor", "Tell what is installed, reachable or mis-set."),
}


class Commands(click.Group):
    """The commands of the table, each imported when it is first needed."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names in the order of the table."""
        del ctx
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command."""
        del ctx
        if cmd_name not in COMMANDS:
            return None
        return getattr(importlib.import_module(COMMANDS[cmd_name][0]), cmd_name)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without importing them."""
        del ctx
        with formatter.section("Commands"):
            formatter.write_dl([(name, sentence) for name, (_, sentence) in COMMANDS.items()])


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
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


def run_command(command: click.Command) -> None:
    """Run a command and exit: 0, 2 for the user's mistakes in one line, 1 for anything else."""
    atexit.register(gc.freeze)  # what lives till the end is not searched for garbage then, for seconds
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s", stream=sys.stderr)
    # The result of a GPU probe is an answer the user asked for.
    logging.getLogger("emotune.runtime.cluster.gpu_sharing").setLevel(logging.INFO)
    try:
        code = command.main(standalone_mode=False)
    except EmotuneError as error:
        complain(str(error))
        code = error.exit_code
    except click.ClickException as error:
        complain(error.format_message())
        code = 2
    except (click.Abort, KeyboardInterrupt):
        complain("interrupted")
        code = 130
    sys.exit(code if isinstance(code, int) else 0)


def complain(message: str) -> None:
    """Print an error on stderr, as it is but for what would command the terminal: names may be a stranger's."""
    shown = "".join(character if character.isprintable() or character == "\n" else "?" for character in message)
    Console(stderr=True, highlight=False).print(f"emotune: {shown}", markup=False, soft_wrap=True)
