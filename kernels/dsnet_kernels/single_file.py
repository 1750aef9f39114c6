"""One operation with all that it needs as one file: `python -m dsnet_kernels.single_file cbam`.

The modules that the operation imports from this package are written one after the other, each
after those that it needs; relative imports are resolved, the others gathered at the top.
"""

import argparse
import ast
import symtable
import sys
from pathlib import Path, PurePosixPath

FOLDER = Path(__file__).parent
OPERATIONS = ("cbam", "selective_fusion")


def single_file(operation: str) -> str:
    """The source of a Python file that imports torch and triton alone and holds the operation.

    Parameters
    ----------
    operation : {"cbam", "selective_fusion"}
        The folder of the operation, whose module `op` is the last one written.

    Raises
    ------
    ValueError
        For another name, or where two modules define the same name differently.
    """
    if operation not in OPERATIONS:
        raise ValueError(f"operation must be one of {', '.join(OPERATIONS)}, got {operation!r}")
    order: list[str] = []
    _visit(f"{operation}/op.py", order)
    imports: set[str] = set()
    bodies: list[str] = []
    defined: dict[str, str] = {}
    for name in order:
        source = (FOLDER / name).read_text(encoding="utf-8")
        tree = ast.parse(source)
        for new in _definitions(source, tree):
            if new in defined:
                raise ValueError(f"{name} and {defined[new]} both define {new}")
            defined[new] = name
        body, found = _without_imports(source, tree)
        imports |= found
        about = f"The operation: {name}." if name == order[-1] else ast.get_docstring(tree) or name
        bodies.append("\n".join(f"# {line}".rstrip() for line in about.splitlines()))
        bodies.append(f"\n{body}\n")
    head = (
        f'"""{ast.get_docstring(ast.parse((FOLDER / order[-1]).read_text(encoding="utf-8")))}\n\n'
        f"Written by `python -m dsnet_kernels.single_file {operation}`; needs torch, and triton on "
        'CUDA tensors.\n"""\n\n# SPDX-License-Identifier: MIT\n# Copyright (c) 2026 The dsnet '
        "authors"
    )
    groups: tuple[list[str], list[str]] = [], []
    for line in sorted(imports, key=lambda line: (line.startswith("from"), line)):
        groups[line.split()[1].split(".")[0] not in sys.stdlib_module_names].append(line)
    blocks = ["\n".join(group) for group in groups if group]
    return "\n\n".join([head, *blocks, *bodies])


def _visit(name: str, order: list[str]) -> None:
    """Append the file's dependencies within the package, then the file."""
    tree = ast.parse((FOLDER / name).read_text(encoding="utf-8"))
    for node in tree.body:
        if isinstance(node, ast.ImportFrom) and node.level:
            needed = _file_of(node, name)
            if needed not in order:
                _visit(needed, order)
    order.append(name)


def _file_of(node: ast.ImportFrom, name: str) -> str:
    """The file, from the package's folder, that this file's relative import names."""
    folder = PurePosixPath(name)
    for _ in range(node.level):
        folder = folder.parent
    return f"{folder.joinpath(*(node.module or '').split('.'))}.py"


def _definitions(source: str, tree: ast.Module) -> set[str]:
    """Names that the module's top level defines, `_` (registrations) aside."""
    symbols = symtable.symtable(source, "module", "exec").get_symbols()
    names = {symbol.get_name() for symbol in symbols if symbol.is_assigned()}
    for node in tree.body:
        if isinstance(node, ast.ImportFrom) and node.level:
            names |= {alias.asname for alias in node.names if alias.asname}
    return names - {"_"}


def _without_imports(source: str, tree: ast.Module) -> tuple[str, set[str]]:
    """The module's text without docstring and imports, and its absolute imports.

    A relative import under another name leaves an assignment in its place.
    """
    lines: list[str | None] = list(source.splitlines())
    imports: set[str] = set()
    for node in tree.body:
        replacement = None
        if isinstance(node, ast.ImportFrom) and node.level:
            replacement = [f"{a.asname} = {a.name}" for a in node.names if a.asname]
        elif isinstance(node, ast.Import | ast.ImportFrom):
            imports.add(ast.unparse(node))
            replacement = []
        elif node is tree.body[0] and isinstance(node, ast.Expr):
            replacement = []
        if replacement is not None:
            first, last = node.lineno - 1, node.end_lineno or node.lineno
            lines[first:last] = ["\n".join(replacement) or None] + [None] * (last - first - 1)
    return "\n".join(line for line in lines if line is not None).strip("\n"), imports


def main() -> None:
    """Print the file of the operation that the command line names."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("operation", choices=OPERATIONS)
    print(single_file(parser.parse_args().operation), end="")


if __name__ == "__main__":
    main()
