"""The house: packages as declared, links in place, dependencies one way, files of readable length."""

from __future__ import annotations

import ast
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from fxstyle import effects

ROOT = Path(__file__).resolve().parent.parent
OUTSIDE = ("cli", "effects", "presets")
"""Folders that stand at the top of the repository and install inside fxstyle."""

LONGEST_FILE = 420
"""Lines. The house aims at 400; the twenty more keep one concept from being split for a few lines."""

pytestmark = pytest.mark.skipif(
    not (ROOT / "pyproject.toml").exists(), reason="needs the repository, not an installed package"
)


def tool_settings() -> dict[str, dict[str, object]]:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    assert isinstance(settings, dict)
    return settings


def folder_of(package: str) -> Path:
    """Return the real folder of a package: fxstyle.cli is cli/, fxstyle.fit is fxstyle/fit/."""
    first, *rest = package.split(".")[1:] or [""]
    return ROOT.joinpath(first, *rest) if first in OUTSIDE else ROOT.joinpath("fxstyle", first, *rest)


def sources() -> Iterator[tuple[str, Path]]:
    """Every module's dotted name and file."""
    for top, prefix in (("fxstyle", "fxstyle"), *((name, f"fxstyle.{name}") for name in OUTSIDE)):
        for path in sorted((ROOT / top).rglob("*.py")):
            relative = path.relative_to(ROOT / top)
            if top == "fxstyle" and relative.parts[0] in OUTSIDE:
                continue  # the links lead to what is walked anyway
            parts = [p for p in relative.with_suffix("").parts if p != "__init__"]
            yield ".".join([prefix, *parts]), path


def imports(path: Path) -> set[str]:
    """Every fxstyle module that a file imports, wherever in the file, with imported names appended."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: line {node.lineno} is a relative import; write it absolutely"
            found.add(node.module or "")
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return {name for name in found if name.partition(".")[0] == "fxstyle"}


MODULES = dict(sources())


def test_the_walk_finds_the_house() -> None:
    assert {"fxstyle.chain", "fxstyle.cli.match", "fxstyle.effects.gain", "fxstyle.presets.schema"} <= set(
        MODULES
    )


def test_declared_packages_are_the_trees() -> None:
    declared = tool_settings()["packages"]
    assert isinstance(declared, list)
    there = {name for name, path in MODULES.items() if path.name == "__init__.py"}
    assert set(declared) == there
    assert all(folder_of(name).is_dir() for name in declared)


def test_outer_packages_are_mapped_and_linked() -> None:
    mapping = tool_settings()["package-dir"]
    assert mapping == {"fxstyle": "fxstyle", **{f"fxstyle.{name}": name for name in OUTSIDE}}
    for name in OUTSIDE:
        link = ROOT / "fxstyle" / name
        assert link.is_symlink(), f"fxstyle/{name} must be a link to ../{name}"
        assert link.readlink() == Path("..") / name


def test_data_files_are_declared() -> None:
    declared = tool_settings()["package-data"]
    for top, package in (("fxstyle", "fxstyle"), *((name, f"fxstyle.{name}") for name in OUTSIDE)):
        for path in (ROOT / top).rglob("*"):
            if path.suffix not in {".json", ".npz", ".safetensors", ".typed"} or path.is_symlink():
                continue
            if top == "fxstyle" and path.relative_to(ROOT / top).parts[0] in OUTSIDE:
                continue
            parts = path.relative_to(ROOT / top).parent.parts
            patterns = declared.get(".".join([package, *parts]), [])
            assert isinstance(patterns, list)
            assert any(path.match(pattern) for pattern in patterns), f"{path} would not be installed"


FORBIDDEN = [
    ("fxstyle.effects", ("fxstyle.fit", "fxstyle.presets", "fxstyle.cli", "fxstyle.report", "fxstyle.chain")),
    ("fxstyle.presets", ("fxstyle.fit", "fxstyle.cli", "fxstyle.report")),
    ("fxstyle.fit", ("fxstyle.cli",)),
    ("fxstyle.features", ("fxstyle.fit", "fxstyle.presets", "fxstyle.cli", "fxstyle.effects")),
    ("fxstyle.dsp", ("fxstyle.fit", "fxstyle.presets", "fxstyle.cli", "fxstyle.effects", "fxstyle.chain")),
    ("fxstyle.device", ("fxstyle.fit", "fxstyle.presets", "fxstyle.cli", "fxstyle.effects", "fxstyle.chain")),
    ("fxstyle.embed", ("fxstyle.fit", "fxstyle.presets", "fxstyle.cli", "fxstyle.effects", "fxstyle.train")),
    ("fxstyle.train", ("fxstyle.cli", "fxstyle.report")),
    ("fxstyle.text", ("fxstyle.fit", "fxstyle.presets", "fxstyle.cli", "fxstyle.report", "fxstyle.embed")),
    ("fxstyle.report", ("fxstyle.cli",)),
    ("fxstyle.rooms", ("fxstyle.fit", "fxstyle.presets", "fxstyle.cli", "fxstyle.report", "fxstyle.effects")),
    ("fxstyle.render", ("fxstyle.fit", "fxstyle.presets", "fxstyle.cli", "fxstyle.report")),
    ("fxstyle.chain", ("fxstyle.fit", "fxstyle.presets", "fxstyle.cli", "fxstyle.report", "fxstyle.render")),
    ("fxstyle.effect", ("fxstyle.fit", "fxstyle.presets", "fxstyle.cli", "fxstyle.effects", "fxstyle.chain")),
    ("fxstyle.param", ("fxstyle.effect", "fxstyle.effects", "fxstyle.chain", "fxstyle.fit", "fxstyle.cli")),
    ("fxstyle.units", ("fxstyle",)),
    ("fxstyle.errors", ("fxstyle",)),
]  # fmt: skip


def inside(module: str, package: str) -> bool:
    return module == package or module.startswith(f"{package}.")


@pytest.mark.parametrize(("package", "targets"), FORBIDDEN, ids=[case[0] for case in FORBIDDEN])
def test_dependencies_run_one_way(package: str, targets: tuple[str, ...]) -> None:
    checked = [name for name in MODULES if inside(name, package)]
    assert checked, f"{package} is gone; mend this table"
    for module in checked:
        wrong = {used for used in imports(MODULES[module]) for target in targets if inside(used, target)}
        assert not wrong, f"{module} imports {sorted(wrong)}"


def test_effects_do_not_know_each_other() -> None:
    for name in effects.names():
        used = {m for m in imports(MODULES[f"fxstyle.effects.{name}"]) if inside(m, "fxstyle.effects")}
        assert not used, f"effects/{name}.py imports {sorted(used)}"


def test_the_fit_names_no_effect() -> None:
    known = set(effects.names())
    for module, path in MODULES.items():
        if not inside(module, "fxstyle.fit"):
            continue
        for used in imports(path):
            part = used.removeprefix("fxstyle.effects.")
            assert used == part or part not in known, f"{module} imports the effect {part}"
        named = {word for word in words_that_choose(path) if word.partition(".")[0] in known}
        assert not named, f"{module} names {sorted(named)}"


def words_that_choose(path: Path) -> Iterator[str]:
    """Yield strings that pick a slot or an effect: those compared, handed to a look-up, or addresses."""
    for node in ast.walk(ast.parse(path.read_text())):
        chosen: list[ast.expr] = []
        if isinstance(node, ast.Compare):
            chosen = [node.left, *node.comparators]
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            chosen = node.args if node.func.attr in {"slot", "without", "param", "get"} else []
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and "." in node.value:
            chosen = [node] if all(part.isidentifier() for part in node.value.split(".")) else []
        yield from (c.value for c in chosen if isinstance(c, ast.Constant) and isinstance(c.value, str))


def test_the_search_for_named_effects_finds_them(tmp_path: Path) -> None:
    path = tmp_path / "m.py"
    path.write_text('x.slot("eq")\nif y.name == "gain": pass\nz["compressor.ratio"]\nterm["width"]\n')
    assert sorted(words_that_choose(path)) == ["compressor.ratio", "eq", "gain"]


def test_files_hold_one_concept() -> None:
    for module, path in MODULES.items():
        lines = path.read_text().count("\n")
        assert lines <= LONGEST_FILE, f"{module} has {lines} lines; split it"


def test_every_module_says_what_it_is() -> None:
    for module, path in MODULES.items():
        assert ast.get_docstring(ast.parse(path.read_text())), f"{module} has no docstring"
