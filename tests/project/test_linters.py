"""`make lint` and .pre-commit-config.yaml run the same commands, in the same order."""

import re

from tests.support.places import ROOT


def commands_of_make():
    """The recipe of `make lint`, as a shell in the checkout would run it."""
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    recipe = re.search(r"(?m)^lint:.*\n((?:\t.+\n)+)", makefile)[1]
    joined = re.sub(r"\\\n\t+", "", recipe)
    plain = joined.replace("$(BIN)", ".venv/bin").replace("$(CURDIR)", "$PWD").replace("$$", "$")
    return [line.strip() for line in plain.splitlines()]


def commands_of_hooks():
    """The entries of the hooks; one that needs a shell names it."""
    text = (ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8")
    entries = re.findall(r"(?m)^ +entry: (.+)$", text)
    return [re.sub(r"^sh -c '(.*)'$", r"\1", entry) for entry in entries]


def test_both_run_the_same_linters():
    assert commands_of_hooks() == commands_of_make()


def test_every_hook_runs_what_is_installed():
    """No hook brings a version of its own, and no hook is given single files."""
    text = (ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8")
    assert re.findall(r"repo: (\S+)", text) == ["local"]
    hooks = text.split("- id: ")[1:]
    assert hooks
    for hook in hooks:
        assert "language: system" in hook
        assert "pass_filenames: false" in hook
