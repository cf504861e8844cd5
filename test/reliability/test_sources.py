"""Row 12: nothing in the core or the node can be made to run code that came as data."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("kosmos2_core", "kosmos2_ros")

MODULES = {"pickle", "_pickle", "cPickle", "cloudpickle", "marshal", "shelve", "dill", "joblib"}
NAMES = {"eval", "exec", "compile", "__import__"}
NAMES |= {f"builtins.{name}" for name in NAMES}
NAMES |= {"torch.load", "torch.jit.load", "torch.hub.load", "torch.serialization.load", "torch.package"}
NAMES |= {"os.system", "os.popen", "subprocess.getoutput", "subprocess.getstatusoutput"}
NAMES |= {"yaml.unsafe_load", "yaml.full_load", "yaml.load_all", "numpy.lib.format.read_array"}
SAFE_LOADERS = {"yaml.SafeLoader", "yaml.CSafeLoader", "yaml.BaseLoader"}  # the last makes only texts
DANGEROUS_SETTINGS = {"trust_remote_code", "shell", "allow_pickle"}  # unless they are False


def dangers(source):
    """What a source says that it should not, by line."""
    tree = ast.parse(source)
    imported = dict(chain_of_imports(tree))
    found = []
    for node in ast.walk(tree):
        found += [(node.lineno, what) for what in dangers_of(node, imported)]
    return sorted(set(found))


def chain_of_imports(tree):
    """Each local name that an import makes, and the whole name behind it."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((one.asname, one.name) for one in node.names if one.asname)
        elif isinstance(node, ast.ImportFrom):
            yield from ((one.asname or one.name, f"{node.module}.{one.name}") for one in node.names)


def dangers_of(node, imported):
    match node:
        case ast.Import(names):
            return [one.name for one in names if is_banned(one.name)]
        case ast.ImportFrom(module=module, names=names) if module:
            return [f"{module}.{one.name}" for one in names if is_banned(f"{module}.{one.name}")]
        case ast.Name() | ast.Attribute():
            name = whole_name(node, imported)
            return [name] if is_banned(name) else []
        case ast.Call():
            return dangers_of_call(node, imported)
    return []


def dangers_of_call(call, imported):
    name = whole_name(call.func, imported)
    settings = {one.arg: one.value for one in call.keywords}
    yield from (
        f"{arg}={ast.unparse(value)}"
        for arg, value in settings.items()
        if arg in DANGEROUS_SETTINGS and not (isinstance(value, ast.Constant) and value.value is False)
    )
    if name == "yaml.load":
        loader = settings.get("Loader", call.args[1] if len(call.args) > 1 else None)
        if whole_name(loader, imported) not in SAFE_LOADERS:
            yield "yaml.load without SafeLoader"
    if name == "importlib.import_module" and isinstance(call.args[0], ast.Constant):
        yield from (call.args[0].value for _ in range(is_banned(str(call.args[0].value))))


def whole_name(node, imported):
    """`np.load` is `numpy.load`; nothing for what is no dotted name."""
    match node:
        case ast.Name(id):
            return imported.get(id, id)
        case ast.Attribute(value, attr):
            return f"{whole_name(value, imported)}.{attr}"
    return ""


def is_banned(name):
    return name in NAMES or name.partition(".")[0] in MODULES


PLANTED = (
    "import pickle",
    "import dill as d",
    "from joblib import load",
    "def late():\n    from pickle import loads",
    "import importlib\nimportlib.import_module('pickle')",
    "__import__('pickle')",
    "eval(text)",
    "run = exec",
    "import builtins\nbuiltins.eval(text)",
    "compile(text, '', 'eval')",
    "import torch\ntorch.load(file)",
    "import torch as t\nt.jit.load(file)",
    "from torch import load",
    "import numpy as np\nnp.load(file, allow_pickle=True)",
    "import numpy as np\nnp.load(file, allow_pickle=wanted)",
    "AutoModel.from_pretrained(name, trust_remote_code=True)",
    "import subprocess\nsubprocess.run(line, shell=True)",
    "from os import system",
    "import os\nos.popen(line)",
    "import yaml\nyaml.load(text)",
    "import yaml\nyaml.load(text, yaml.Loader)",
    "import yaml\nyaml.unsafe_load(text)",
)
HARMLESS = (
    "model.eval()",
    "import re\nre.compile(text)",
    "import numpy as np\nnp.load(file)",
    "import numpy as np\nnp.load(file, allow_pickle=False)",
    "import subprocess\nsubprocess.run([name], shell=False)",
    "import yaml\nyaml.safe_load(text)",
    "import yaml\nyaml.load(text, Loader=yaml.SafeLoader)",
    "from yaml import SafeLoader, load\nload(text, SafeLoader)",
    "import yaml\nyaml.load(text, Loader=yaml.BaseLoader)",
    "'''says eval, exec, pickle'''  # torch.load",
)


@pytest.mark.parametrize("source", PLANTED)
def test_what_is_dangerous_is_found(source):
    assert dangers(source)


@pytest.mark.parametrize("source", HARMLESS)
def test_what_is_harmless_is_not(source):
    assert dangers(source) == []


@pytest.mark.row(
    *(12, "sources of kosmos2_core and kosmos2_ros"),
    "no pickle, torch.load, eval, exec, trust_remote_code, shell=True",
)
def test_the_sources_have_none(record_property):
    files = [file for package in PACKAGES for file in sorted((ROOT / package).rglob("*.py"))]
    assert {file.relative_to(ROOT).parts[0] for file in files} == set(PACKAGES)
    found = {str(file.relative_to(ROOT)): dangers(file.read_text(encoding="utf-8")) for file in files}
    record_property("figure", f"{len(files)} files, {sum(map(len, found.values()))} places")
    assert {file: places for file, places in found.items() if places} == {}
