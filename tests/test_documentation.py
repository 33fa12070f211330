"""Promises of the documentation: the reference is complete, and the site builds without the network."""

import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import click
import pytest
from markdown.extensions.toc import slugify

from emotune.cli import emotune
from tools import reference

ROOT = Path(__file__).parents[1]
SECTIONS = list(reference.setting_sections())


@pytest.mark.parametrize("section", SECTIONS, ids=lambda section: f"{section.title} {section.settings.__name__}")
def test_every_setting_has_a_sentence(section: reference.Section) -> None:
    for name, field in reference.shown_fields(section):
        assert re.search(r"\w.*[.)`]$", reference.sentence(field)), f"{section.prefix}{name} has no sentence"


def test_the_page_of_settings_has_every_section_of_an_experiment() -> None:
    page = reference.settings_page()
    for name in (
        "base.folds.by",
        "base.task.validation.span",
        "base.task.threshold.of",
        "budget.eta",
        "searcher.order",
        "rate",
        "ecg_channels",
    ):
        assert re.search(rf"^\| `[\w.]*{re.escape(name)}` \|", page, flags=re.MULTILINE), name


@pytest.mark.parametrize("page", [reference.settings_page, reference.commands_page])
def test_titles_of_a_generated_page_have_different_anchors(page: Callable[[], str]) -> None:
    anchors = [slugify(title, "-") for title in re.findall(r"^#+ (.*)$", page(), flags=re.MULTILINE)]
    assert len(anchors) > 20
    assert sorted(set(anchors)) == sorted(anchors)


def test_the_page_of_commands_has_every_command_and_option() -> None:
    page = reference.commands_page()
    for name, command in reference.commands(emotune):
        assert f"\n## {name}\n" in page
        for option in command.params:
            if isinstance(option, click.Option):
                assert option.opts[0] in page
    assert "emotune data prepare" in page


def test_no_external_resource_is_loaded_by_the_site(site: Path) -> None:
    loads = re.compile(r"<(?:script|img|iframe)[^>]+src=\"?(https?:)?//|<link[^>]+stylesheet[^>]+href=\"?(https?:)?//")
    for page in site.rglob("*.html"):
        assert not loads.search(page.read_text(encoding="utf-8")), page


def test_the_site_has_the_generated_pages(site: Path) -> None:
    assert "budget.eta" in (site / "settings.html").read_text(encoding="utf-8")
    assert "emotune data prepare" in (site / "commands.html").read_text(encoding="utf-8")
    assert "load_encoder" in (site / "python.html").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site as ``make docs`` builds it, without any network. A warning, for instance of a dead link, is an error."""
    pytest.importorskip("mkdocs")
    out = tmp_path_factory.mktemp("site")
    without = ["unshare", "--net", "--map-root-user"] if can_unshare() else []
    command = [*without, sys.executable, "-m", "mkdocs", "build", "--quiet", "--site-dir", str(out)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return out


def can_unshare() -> bool:
    """Return whether a process can be started without a network."""
    command = ["unshare", "--net", "--map-root-user", "true"]
    return shutil.which("unshare") is not None and subprocess.run(command, check=False).returncode == 0


def test_every_link_of_the_readme_leads_to_a_file() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)|src=\"([^\"]+)\"", readme):
        path = target[0] or target[1]
        assert path.startswith("http") or (ROOT / path).exists(), path
