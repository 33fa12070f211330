"""The tables of the comparison as a Markdown page, CSV and JSON."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.markdown import markdown
from benchmarks.problems import problem_of
from benchmarks.scores import SHARES, bohb_tests, by_problem, complete, overall, speed_up, with_ranks


def write_all(table: pd.DataFrame, *, folder: Path, about: str, absent: Sequence[str]) -> str:
    """Write all tables to a folder and return the page.

    Args:
        table: What `benchmarks.scores.tidy` returned.
        folder: Folder for ``results.md``, ``cells.csv`` and ``results.json``.
        about: Text about the settings of the comparison.
        absent: Requested optimisers that are not installed.
    """
    parts = ["# Search quality", about]
    if absent:
        parts.append(f"Absent, because not installed: {', '.join(absent)}.")
    held = table["problem"].map(lambda name: problem_of(name, seed=0).held_out)
    summaries: dict[str, list[dict]] = {}
    for title, chosen in (("Problems", table[~held]), ("Held-out families", table[held])):
        for workers, group in chosen.groupby("workers"):
            heading = f"{title}, {workers} worker{'s' if workers != 1 else ''}"
            page, summary = _section(heading, group)
            parts.append(page)
            summaries.update({f"{heading}: {name}": frame.to_dict("records") for name, frame in summary.items()})
    parts.append("## Seconds of CPU time per run\n\n" + _seconds(table))
    page = "\n\n".join(parts) + "\n"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "results.md").write_text(page, encoding="utf-8")
    table.drop(columns="curve").to_csv(folder / "cells.csv", index=False)
    pd.Series(summaries).to_json(folder / "results.json", indent=1)
    return page


def _section(heading: str, group: pd.DataFrame) -> tuple[str, dict[str, pd.DataFrame]]:
    paired = with_ranks(complete(group))
    incomplete = len(group) - len(paired)
    frames = {
        "overall": overall(paired),
        "by problem": by_problem(group),
        "tests": bohb_tests(group),
        "speed": speed_up(paired),
    }
    seeds = paired.groupby("problem")["seed"].nunique()
    lines = [f"## {heading}", "Seeds: " + ", ".join(f"{problem} {count}" for problem, count in seeds.items()) + "."]
    if incomplete:
        lines.append(
            f"Excluded from ranks and means over problems: {incomplete} runs of seeds that not all optimisers finished."
        )
    lines += ["### Over problems (mean ± 95 %)", _overall(frames["overall"])]
    lines += ["### Normalised regret at 100 % by problem (mean ± 95 %)", _by_problem(frames["by problem"])]
    if len(frames["tests"]):
        lines += ["### Against other BOHBs (Wilcoxon, paired by seed)", _tests(frames["tests"])]
        lines += ["### Share of the budget to reach a BOHB's final regret", _speed(frames["speed"])]
    return "\n\n".join(lines), frames


def _overall(frame: pd.DataFrame) -> str:
    names = [f"{what} at {share:.0%}" for what in ("rank", "regret") for share in SHARES]
    rows = [
        [row["optimiser"], *(f"{row[name]:.3f} ± {row[name + ' ±']:.3f}" for name in names)]
        for row in frame.to_dict("records")
    ]
    return markdown(["optimiser", *names], rows)


def _by_problem(frame: pd.DataFrame) -> str:
    problems = list(dict.fromkeys(frame["problem"]))
    cells = {(row["optimiser"], row["problem"]): row for row in frame.to_dict("records")}
    rows = []
    for optimiser in dict.fromkeys(frame["optimiser"]):
        found = [cells.get((optimiser, problem)) for problem in problems]
        rows.append([optimiser, *(f"{row['mean']:.3f} ± {row['±']:.3f}" if row else "" for row in found)])
    return markdown(["optimiser", *problems], rows)


def _tests(frame: pd.DataFrame) -> str:
    everything = frame[frame["problem"] == "all"].set_index(["optimiser", "peer"])
    rows = []
    for (optimiser, peer), group in frame[frame["problem"] != "all"].groupby(["optimiser", "peer"]):
        total = everything.loc[(optimiser, peer)]
        named = {verdict: ", ".join(part["problem"]) for verdict, part in group.groupby("verdict")}
        counts = f"{total['difference']:+.3f}", f"{total['p']:.2g}"
        rows.append([optimiser, peer, *counts, named.get("better", ""), named.get("worse", "")])
    head = ["optimiser", "against", "difference", "p", "significantly better on", "significantly worse on"]
    return markdown(head, rows)


def _speed(frame: pd.DataFrame) -> str:
    means = frame.groupby(["optimiser", "peer"])["share"].agg(lambda shares: float(np.exp(np.log(shares).mean())))
    wide = means.unstack("peer")
    rows = [
        [str(optimiser), *(f"{share:.2f}" for share in row)]
        for optimiser, row in zip(wide.index, wide.to_numpy(), strict=True)
    ]
    return markdown(["optimiser (geometric mean over problems)", *map(str, wide.columns)], rows)


def _seconds(table: pd.DataFrame) -> str:
    wide = table.pivot_table(index="optimiser", columns="workers", values="seconds", aggfunc="mean")
    rows = [
        [str(name), *(f"{value:.1f}" for value in row)] for name, row in zip(wide.index, wide.to_numpy(), strict=True)
    ]
    return markdown(["optimiser", *(f"{workers} workers" for workers in wide.columns)], rows)
