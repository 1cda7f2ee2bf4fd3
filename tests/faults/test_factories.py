"""``scionwood anatomy package.module:factory``: whatever is wrong with what the user wrote, it says what."""

import textwrap
from pathlib import Path

import pytest
from tests.faults.bench import refused, scionwood

OAK = """
    import torch
    from torch import nn

    number = 5

    def good(): return nn.Linear(3, 4), (torch.zeros(1, 3),)
    def raises(): raise ValueError("no luck\\nat all")
    def leaves(): raise SystemExit(3)
    def wants(size): return nn.Linear(size, 4), (torch.zeros(1, size),)
    def number_of(): return 5
    def nothing(): return None
    def module_alone(): return nn.Linear(3, 4)
    def three(): return nn.Linear(3, 4), (), 3
    def too_wide(): return nn.Linear(3, 4), (torch.zeros(1, 5),)
    def no_tensor(): return nn.Linear(3, 4), "text"
    def no_inputs(): return nn.Linear(3, 4), None
    def other_names(): return nn.Linear(3, 4), {"inptu": torch.zeros(1, 3)}

    class Broken(nn.Module):
        def forward(self, x): raise RuntimeError("a broken forward")

    class Branching(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(3, 4)
        def forward(self, x):
            return self.linear(x) if x.sum() > 0 else -self.linear(x)

    def broken(): return Broken(), (torch.zeros(1, 3),)
    def branching(): return Branching(), (torch.zeros(1, 3),)
"""

FILES = {
    "oak.py": OAK,
    "no_python.py": "def f(:",
    "imports_nothing.py": "import nothing_of_that_name",
    "fails.py": "raise RuntimeError('while it is imported')",
    "leaves.py": "raise SystemExit(4)",
}

FAULTS: dict[str, list[str]] = {
    "oak:raises": ["the factory failed: ValueError: no luck"],
    "oak:leaves": ["the factory failed: SystemExit: 3"],
    "oak:wants": ["the factory failed: TypeError", "missing 1 required positional argument: 'size'"],
    "oak:number_of": ["returned a int, not a module and its example inputs", "return (module, example_inputs)"],
    "oak:nothing": ["returned a NoneType", "return (module, example_inputs)"],
    "oak:module_alone": ["returned a Linear", "return (module, example_inputs)"],
    "oak:three": ["returned a tuple", "return (module, example_inputs)"],
    "oak:too_wide": ["cannot be exported: RuntimeError", "[1, 5]", "give example inputs that its forward takes"],
    "oak:no_tensor": ["cannot be exported: TypeError", "must be Tensor, not str"],
    "oak:no_inputs": ["cannot be exported: TypeError", "must be Tensor, not NoneType"],
    "oak:other_names": ["cannot be exported: TypeError", "'input'"],
    "oak:broken": ["cannot be exported: RuntimeError: a broken forward"],
    "oak:branching": ["its control flow depends on the values of tensors"],
    "oak:goood": ["'oak' has no function 'goood'", "did you mean 'good'?"],
    "oak:number": ["'oak' has no function 'number'"],
    "oka:good": ["cannot import 'oka'", "run from the folder"],
    "oak.py:good": ["cannot import 'oak.py'", "write oak:good"],
    "oak.branch:good": ["cannot import 'oak.branch'", "'oak' is not a package"],
    "imports_nothing:f": ["cannot import 'imports_nothing'", "nothing_of_that_name"],
    "no_python:f": ["'no_python' fails when imported: SyntaxError"],
    "fails:f": ["'fails' fails when imported: RuntimeError: while it is imported"],
    "leaves:f": ["'leaves' fails when imported: SystemExit: 4"],
    "oak:": ["There is no file or folder oak:"],
    ":good": ["There is no file or folder :good"],
    "./oak:good": ["There is no file or folder oak:good"],
}


@pytest.fixture(autouse=True)
def modules(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    for name, text in FILES.items():
        (home / name).write_text(textwrap.dedent(text))
        monkeypatch.delitem(sys.modules, name.removesuffix(".py"), raising=False)


@pytest.mark.parametrize("name", FAULTS)
def test_a_factory_that_does_not_work(home: Path, name: str) -> None:
    refused(home, "anatomy", name, words=[name.removeprefix("./"), *FAULTS[name]])


def test_one_that_does(home: Path) -> None:
    outcome = scionwood("anatomy", "oak:good")
    assert (outcome.code, outcome.err) == (0, "")
    assert "weight" in outcome.out
