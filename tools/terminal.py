"""Record the quick start of the README in a terminal, as an SVG: each command, and the end of what it prints.

    python -m tools.terminal RECORDINGS --condition arithmetic --file RECORDINGS/anna_task.edf

The commands are read from the README and run in a new folder, with the study ``smoke`` in place of the longer one.
"""

import argparse
import io
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import click
from rich.console import Console
from rich.text import Text

ROOT = Path(__file__).parents[1]
OUT = ROOT / "docs/screenshots/terminal.svg"
COLUMNS = 120
LINES = 9
"""Lines of a command's output that are shown: the last ones."""

SVG = """<svg class="rich-terminal" viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg">
<style>
.{unique_id}-matrix {{ font-family: Menlo, Consolas, "DejaVu Sans Mono", monospace; font-size: {char_height}px;
  line-height: {line_height}px; }}
.{unique_id}-title {{ font-size: 18px; font-weight: bold; font-family: sans-serif; }}
{styles}
</style>
<defs>
<clipPath id="{unique_id}-clip-terminal">
<rect x="0" y="0" width="{terminal_width}" height="{terminal_height}"/>
</clipPath>
{lines}
</defs>
{chrome}
<g transform="translate({terminal_x}, {terminal_y})" clip-path="url(#{unique_id}-clip-terminal)">
{backgrounds}
<g class="{unique_id}-matrix">
{matrix}
</g>
</g>
</svg>
"""
"""Rich's frame without its font, which it would load from the network."""


def quick_start() -> list[str]:
    """Return the commands of the README's quick start."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    section = readme.partition("## Quick start")[2].partition("\n## ")[0]
    block = re.findall(r"^```sh\n(.*?)^```$", section, flags=re.DOTALL | re.MULTILINE)[0]
    return [re.sub(r"\s+#.*", "", line) for line in block.splitlines()]


def record(commands: list[str], *, folder: Path) -> Console:
    """Run commands in a folder, and return a console that recorded them."""
    console = Console(record=True, width=COLUMNS, file=io.StringIO())
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    for command in commands:
        click.echo(command)
        environment = os.environ | {"PATH": path, "COLUMNS": str(COLUMNS)}
        done = subprocess.run(
            f"{command} 2>&1", shell=True, cwd=folder, env=environment, text=True, capture_output=True, check=False
        )
        if done.returncode:
            raise SystemExit(done.stdout)
        lines = done.stdout.replace(str(folder), "~/emotune").strip().splitlines()
        console.print(Text(f"$ {command}", style="bold green"), overflow="fold")
        left_out = [Text("...", style="dim")] if len(lines) > LINES else []
        for line in [*left_out, *map(Text, lines[-LINES:]), Text("")]:
            console.print(line, overflow="fold")
    return console


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recordings", type=Path)
    parser.add_argument("--condition", default="arithmetic", help="condition that counts as high")
    parser.add_argument("--file", type=Path, required=True, help="recording that is judged")
    parser.add_argument("--study", default="smoke")
    given = parser.parse_args()
    texts = {"laptop_pretrain": given.study, "task.high=arithmetic": f"task.high={given.condition}"}
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "recordings").symlink_to(given.recordings.absolute())
        for name in ("examples", "search_spaces"):
            (Path(folder) / name).symlink_to(ROOT / name)
        file = f"recordings/{given.file.absolute().relative_to(given.recordings.absolute())}"
        texts |= {"RECORDINGS/anna_task.edf": file, "RECORDINGS": "recordings"}
        commands = quick_start()
        for old, new in texts.items():
            commands = [command.replace(old, new) for command in commands]
        console = record(commands, folder=Path(folder))
    OUT.write_text(console.export_svg(title="emotune", code_format=SVG, unique_id="terminal"), encoding="utf-8")
    click.echo(f"{OUT} written")


if __name__ == "__main__":
    main()
