"""Search the fine-tuning: ``emotune search`` with a default study, as a script for a cluster's head node."""

from emotune.cli import run_command
from emotune.cli.search import search_command

if __name__ == "__main__":
    run_command(search_command("ecg_finetune"))
