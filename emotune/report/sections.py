"""The tables and sentences of a page about one search, from its content."""

from collections.abc import Mapping, Sequence
from typing import Any

from emotune.durations import duration
from emotune.report.content import Document
from emotune.report.costs import price
from emotune.report.estimates import estimate_rows
from emotune.report.neighbours import nearest_configurations
from emotune.study.front import RULE, describe_front

TASKS = {
    "masked_values": "pre-training by predicting hidden spans of the signal",
    "classify": "classification",
    "recognise_transformation": "pre-training by recognising transformations of the signal",
}


def search_sections(content: Document) -> Document:
    """Return what the template shows beside the content itself."""
    best = content["best"]
    return {
        "facts": _facts(content),
        "sections": _sections(content),
        "best_values": _pairs({} if best is None else best["values"], names=("setting", "value")),
        "software": _pairs(content["software"], names=("package", "version")),
        "command_text": _command_text(content),
        "searched": _searched(content),
        "setting_rows": _setting_rows(content),
        "part_rows": _part_rows(content),
        "part_columns": _part_columns(content),
        "curves_left_out": _curves_left_out(content),
        "has_importance": any(rung["settings"] for rung in content["importance"]),
        **_front(content),
        "has_agreement": any(pair["configurations"] >= 3 for pair in content["agreement"]),
        "wave_rows": _wave_rows(content),
        "neighbours": nearest_configurations(content) if content["purpose"] == "configuration" else [],
        "cost_parts": _cost_parts(content),
        "cost_rows": _cost_rows(content),
        "cost_columns": _cost_columns(content),
        "estimate_rows": estimate_rows(content),
        "room_saved": f"{content['removed']['bytes'] / 1e6:.3g} MB",
        **_classification(content),
        **_folds(content),
    }


def _pairs(values: Mapping[str, Any], *, names: tuple[str, str]) -> list[Document]:
    return [dict(zip(names, pair, strict=True)) for pair in values.items()]


def _facts(content: Document) -> list[tuple[str, str]]:
    cost, timeline, objective = content["cost"], content["timeline"], content["objective"]
    best = "-" if content["best"] is None else f"{content['best']['objective']:.4g}"
    slots = timeline["busy_s"] + timeline["failed_s"] + timeline["idle_s"]
    full = cost["full_s"]
    counts = [
        ("folds" if content["purpose"] == "fold" else "configurations", str(len(content["configurations"]["config"]))),
        ("evaluations" + (f", {content['failed']} failed" if content["failed"] else ""), str(content["evaluations"])),
    ]
    facts = [
        (f"best {objective['metric']}" if content["purpose"] == "configuration" else objective["metric"], best),
        *(counts if content["purpose"] in {"configuration", "fold"} else []),
        ("epochs trained", str(cost["epochs"])),
        (f"{cost['unit']}-hours spent", _hours(content, cost["spent_s"])),
        *([] if cost["price_per_hour"] is None else [("price", _price(content, cost["spent_s"]))]),
        ("from first to last record", duration(content["last"] - content["begun"])),
    ]
    if content["purpose"] == "configuration" and full > 0:
        facts.append(("saved by early stopping", f"{100 * cost['saved_s'] / full:.0f} %"))
    if slots > 0:
        facts.append(("of the workers' time busy", f"{100 * timeline['busy_s'] / slots:.0f} %"))
    return facts


def _sections(content: Document) -> list[tuple[str, str]]:
    """Return anchor and text of the links to the sections that the page has."""
    is_search = content["purpose"] == "configuration"
    several = is_search and content["settings"] and content["best"] and len(content["configurations"]["config"]) > 1
    predictions = content["predictions"]
    known = [
        ("best", "Best configuration" if is_search else "Result", True),
        ("data-used", "Data", True),
        ("front", "Pareto front" if "objectives" in content["criteria"] else "Constraints", content["criteria"]),
        ("folds", "Folds", content["crossval"]),
        ("predictions", "Predictions", any(predictions.values())),
        ("curves", "Learning curves", content["curves"]),
        ("progress", "Progress", is_search and content["incumbents"]["trained"]),
        ("parallel", "Parallel coordinates", several),
        ("settings", "Each setting", several),
        ("importance", "Importance", any(rung["settings"] for rung in content["importance"])),
        ("dependence", "Partial dependence", content["dependence"]),
        ("rungs", "Rungs", any(pair["configurations"] >= 3 for pair in content["agreement"])),
        ("cost", "Workers and cost", content["timeline"]["bars"]),
        ("board", "Folds and scores" if content["purpose"] == "fold" else "Leaderboard", True),
        ("failures", "Failures", content["failures"]),
        ("study", "Study", True),
    ]
    return [(anchor, text) for anchor, text, shown in known if shown]


def _command_text(content: Document) -> str:
    match content["purpose"]:
        case "configuration" if content["task"] == "classify":
            return "These commands write it as an experiment, and cross-validate it with people kept apart:"
        case "configuration":
            return "These commands write it as an experiment, and train it long:"
        case "pretrain":
            return "This command fine-tunes the encoder:"
        case _:
            return "This command predicts a recording:"


def _searched(content: Document) -> str:
    task = TASKS.get(content["task"], content["task"] or "an unknown task")
    if content["purpose"] != "configuration":
        epochs = content["budget"].get("max")
        return f"{task[:1].upper()}{task[1:]}{f', {epochs} epochs' if epochs else ''}."
    budget = content["budget"]
    lengths = (
        f" Configurations are trained for {budget['min']} to {budget['max']} epochs; about one in "
        f"{budget.get('eta', 3)} is promoted from rung to rung."
        if {"min", "max"} <= set(budget)
        else ""
    )
    settings = len(content["settings"])
    direction = "lower" if content["objective"]["mode"] == "min" else "higher"
    return (
        f"{settings} setting{'' if settings == 1 else 's'} of {task}, searched by {content['searcher']}. "
        f"The objective is {content['objective']['metric']}, {direction} is better.{lengths}"
    )


def _setting_rows(content: Document) -> list[Document]:
    rows = []
    for axis in content["settings"]:
        numeric = axis["scale"] != "categories"
        ends = f"{axis['low']:.4g} to {axis['high']:.4g}" if numeric else ", ".join(map(str, axis["levels"]))
        rows.append(
            {
                "setting": axis["name"],
                "scale": axis["scale"],
                "range": ends,
                "default": axis["default"],
                "condition": axis["condition"] or "-",
            }
        )
    return rows


def _part_rows(content: Document) -> list[Document]:
    summary = content["data"]["summary"]
    return [{**part, "share high": part["high_share"]} for part in ([] if summary is None else summary["parts"])]


def _part_columns(content: Document) -> list[str]:
    summary = content["data"]["summary"]
    labelled = summary is not None and any(part["high_share"] is not None for part in summary["parts"])
    return ["part", "people", "segments", "hours", *(["share high"] if labelled else [])]


def _curves_left_out(content: Document) -> str:
    metrics = content["curves"].values()
    left_out = max((metric["configurations"] - len(metric["curves"]) for metric in metrics), default=0)
    return f"The curves of the last {left_out} configurations of the leaderboard are left out." if left_out else ""


def _wave_rows(content: Document) -> list[Document]:
    waves = content["predictions"]["waves"]
    return [
        {
            "part": part["part"],
            "share of values": f"{part['share']:.0%}",
            "network": part["network"],
            "linear interpolation": part["interpolated"],
            "predicting zero": part["zero"],
            "where": part["window"],
        }
        for part in ([] if waves is None else waves["parts"])
    ]


def _hours(content: Document, seconds: float) -> str:
    return f"{seconds * content['cost']['per_evaluation'] / 3600:.3g}"


def _price(content: Document, seconds: float) -> str:
    """Return the price of a time, in the currency of the price per hour; empty without one."""
    cost = content["cost"]
    if cost["price_per_hour"] is None:
        return ""
    return price(seconds * cost["per_evaluation"] / 3600, per_hour=cost["price_per_hour"])


def _cost_parts(content: Document) -> list[tuple[str, str, str, float]]:
    """Return class, title, hours and width (%) of the parts of the cost bar."""
    cost = content["cost"]
    parts = [
        ("used", "used for results", cost["used_s"]),
        ("diverged", "diverged", cost["diverged_s"]),
        ("lost", "lost to faults", cost["lost_s"]),
        ("saved", "saved by early stopping", max(0.0, cost["saved_s"])),
    ]
    total = sum(seconds for *_, seconds in parts) or 1.0
    return [
        (name, title, _hours(content, seconds), round(100 * seconds / total, 2))
        for name, title, seconds in parts
        if seconds > 0
    ]


def _cost_rows(content: Document) -> list[Document]:
    cost, timeline = content["cost"], content["timeline"]
    rows = [
        ("spent", cost["spent_s"], "all evaluations that have ended"),
        ("used for results", cost["used_s"], f"evaluations with a result, {cost['epochs']} epochs"),
        ("diverged", cost["diverged_s"], "evaluations whose loss was not finite"),
        ("lost to faults", cost["lost_s"], "evaluations that failed for another reason"),
        ("full training", cost["full_s"], f"estimate: the same configurations for {cost['full_epochs']} epochs"),
        ("saved by early stopping", cost["saved_s"], "full training minus used for results"),
        ("idle", timeline["idle_s"], "workers without an evaluation while the search ran"),
    ]
    unit = f"{cost['unit']}-hours"
    return [
        {"": name, unit: _hours(content, seconds), "price": _price(content, seconds), "meaning": meaning}
        for name, seconds, meaning in rows
    ]


def _cost_columns(content: Document) -> list[str]:
    price = [] if content["cost"]["price_per_hour"] is None else ["price"]
    return ["", f"{content['cost']['unit']}-hours", *price, "meaning"]


def _front(content: Document) -> Document:
    """Return the lines about constraints, and the table of the Pareto front."""
    criteria = content["criteria"]
    lines = describe_front({**criteria, "best": content["best"]}) if criteria else []
    members = criteria.get("front", [])
    metrics = list(members[0]["measured"]) if members else []
    rows = [{"config": entry["config_id"], "epochs": entry["epochs"], **entry["measured"]} for entry in members]
    rule = f"{RULE[:1].upper()}{RULE[1:]}"
    return {
        "front_lines": lines,
        "front_rule": rule,
        "front_rows": rows,
        "front_columns": ["config", "epochs", *metrics],
    }


def _classification(content: Document) -> Document:
    result = content["predictions"]["classification"]
    if result is None:
        return {"confusion": [], "class_scores": []}
    rows = zip(result["names"], result["confusion"], strict=True)
    scores = [
        {"score": name.replace("_", " "), "network": value, "more frequent label": result["majority"].get(name)}
        for name, value in result["scores"].items()
    ]
    interval = result["accuracy"]
    half = "" if interval["half_width"] is None else f" ±{interval['half_width']:.3f}"
    scores.append(
        {"score": "accuracy, mean over people", "network": f"{interval['mean']:.3f}{half}", "more frequent label": None}
    )
    return {"confusion": [(name, _shares(cells)) for name, cells in rows], "class_scores": scores}


def _shares(cells: Sequence[int]) -> list[tuple[int, int, int]]:
    """Return count, percentage of the row, and strength of the colour (%) of each cell of a row."""
    total = sum(cells) or 1
    return [(count, round(100 * count / total), round(60 * count / total)) for count in cells]


def _folds(content: Document) -> Document:
    result = content["crossval"]
    if result is None:
        return {"fold_summary": [], "fold_columns": []}
    titles = {"folds": "network", "majority": "more frequent label", "shuffled": "shuffled labels"}
    shown = [name for name in titles if result["summary"].get(name)]
    rows = []
    for metric in result["summary"].get("folds", {}):
        row: Document = {"score": "calibration error" if metric == "ece" else metric.replace("_", " ")}
        for name in shown:
            interval = result["summary"][name].get(metric)
            half = interval and interval["half_width"]
            row[titles[name]] = interval and f"{interval['mean']:.3f}" + (f" ±{half:.3f}" if half is not None else "")
        rows.append(row)
    return {"fold_summary": rows, "fold_columns": ["score", *(titles[name] for name in shown)]}
