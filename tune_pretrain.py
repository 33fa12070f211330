"""Search the pre-training: ``ray submit cluster.yaml tune_pretrain.py -- --store STORE``."""

from emotune.cli import run_command
from emotune.cli.search import search_command

if __name__ == "__main__":
    run_command(search_command("ecg_pretrain"))
