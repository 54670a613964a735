"""Only `slots` changes what it holds, and no state of the pool is written as minus infinity.

The source is read and not run. The counters and queues of `Slots` are public to read; other code
that writes them could lose a slot. Within one function, names that are
assigned the slots or one of their queues are followed.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator

import pytest

from tests.support.imports import PACKAGE_ROOT

SLOTS_FILE = PACKAGE_ROOT / "pool" / "slots.py"
COUNTERS = {"total", "opening", "reserved", "validating", "closing"}
QUEUES = {"idle", "waiters"}
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
# The methods of a deque and an OrderedDict that change it.
MUTATORS = {
    "append",
    "appendleft",
    "clear",
    "extend",
    "extendleft",
    "insert",
    "move_to_end",
    "pop",
    "popitem",
    "popleft",
    "remove",
    "reverse",
    "rotate",
    "setdefault",
    "update",
}


# --------------------------------------------------------------------------- changes of the slots


def changes_of_slots(source: str) -> list[str]:
    """Every place that changes a counter or a queue of some `slots`, as `line: what`."""
    found = sorted(_changes_in(ast.parse(source), _Names()))
    return [f"{line}: {what}" for line, what in found]


def _changes_in(scope: ast.AST, outer: _Names) -> Iterator[tuple[int, str]]:
    """The changes in a module or a function, and in the functions inside it."""
    nodes = list(_walk_scope(scope))
    names = outer.extended(nodes)
    for node in nodes:
        if isinstance(node, ast.expr | ast.AugAssign) and _is_change(node, names):
            yield node.lineno, ast.unparse(node)
        elif isinstance(node, _FUNCTIONS):
            yield from _changes_in(node, names)


def _walk_scope(scope: ast.AST) -> Iterator[ast.AST]:
    """All nodes of a module or function; functions inside it without what they contain."""
    for node in ast.iter_child_nodes(scope):
        yield node
        if not isinstance(node, _FUNCTIONS):
            yield from _walk_scope(node)


def _is_change(node: ast.AST, names: _Names) -> bool:
    match node:
        case ast.Attribute(value, name, ctx) if names.is_slots(value):
            return name in COUNTERS | QUEUES and not isinstance(ctx, ast.Load)
        case ast.Attribute(value, name) if names.is_queue(value):
            return name in MUTATORS
        case ast.Subscript(value, _, ctx) if names.is_queue(value):
            return not isinstance(ctx, ast.Load)
        case ast.AugAssign(ast.Name() as target):
            return names.is_queue(target)
        case ast.Call(ast.Name("setattr" | "delattr"), [owner, ast.Constant(name), *_]) if (
            names.is_slots(owner)
        ):
            return name in COUNTERS | QUEUES
    return False


class _Names:
    """The names in one scope that stand for slots or for a queue of them."""

    def __init__(self) -> None:
        self._slots = {"slots", "_slots"}
        self._queues: set[str] = set()

    def extended(self, nodes: Iterable[ast.AST]) -> _Names:
        """These names and those that `nodes` assign."""
        names = _Names()
        names._slots |= self._slots
        names._queues |= self._queues
        for name, value in _assigned_names(nodes):
            if names.is_slots(value):
                names._slots.add(name)
            elif names.is_queue(value):
                names._queues.add(name)
        return names

    def is_slots(self, node: ast.AST) -> bool:
        if isinstance(node, ast.Attribute):
            return node.attr in {"slots", "_slots"}
        return isinstance(node, ast.Name) and node.id in self._slots

    def is_queue(self, node: ast.AST) -> bool:
        if isinstance(node, ast.Attribute):
            return node.attr in QUEUES and self.is_slots(node.value)
        return isinstance(node, ast.Name) and node.id in self._queues


def _assigned_names(nodes: Iterable[ast.AST]) -> Iterator[tuple[str, ast.expr]]:
    """Each `name = value` among some nodes; `a, b = c, d` gives two."""
    for node in nodes:
        targets: Iterable[ast.expr] = ()
        if isinstance(node, ast.Assign):
            targets = node.targets
        elif isinstance(node, ast.AnnAssign | ast.NamedExpr):
            targets = [node.target]
        for target in targets:
            value = getattr(node, "value", None)
            if isinstance(target, ast.Name) and isinstance(value, ast.expr):
                yield target.id, value
            elif isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple):
                for each, part in zip(target.elts, value.elts, strict=False):
                    if isinstance(each, ast.Name):
                        yield each.id, part


def test_only_slots_changes_its_counters_and_queues() -> None:
    found = [
        f"{path.relative_to(PACKAGE_ROOT)}:{what}"
        for path in sorted(PACKAGE_ROOT.rglob("*.py"))
        if path != SLOTS_FILE
        for what in changes_of_slots(path.read_text())
    ]
    assert found == []


@pytest.mark.parametrize(
    "source",
    [
        "self.slots.total += 1",
        "slots.opening -= 1",
        "self._loop_pool.slots.reserved = 0",
        "self._slots.validating += 1",
        "house.slots.closing, x = 1, 2",
        "del slots.total",
        "slots.idle = deque()",
        "setattr(self.slots, 'total', 3)",
        "delattr(slots, 'total')",
        "for slots.total in range(3): pass",
        "self.slots.idle.append(entry)",
        "self.slots.idle.pop()",
        "self.slots.idle.popleft()",
        "self.slots.idle.remove(entry)",
        "self.slots.idle.clear()",
        "self.slots.idle.insert(0, entry)",
        "self.slots.idle.extend(entries)",
        "self.slots.idle[0] = entry",
        "self.slots.idle += [entry]",
        "del self.slots.idle[0]",
        "del self.slots.waiters[waiter]",
        "self.slots.waiters[waiter] = None",
        "self.slots.waiters.popitem(last=False)",
        "self.slots.waiters.pop(waiter, None)",
        "take = self.slots.idle.pop",
        "def f(self):\n    idle = self.slots.idle\n    idle.append(1)",
        "async def f(self):\n    waiters = self.slots.waiters\n    waiters.clear()",
        "def f(self):\n    s, q = self.slots, 1\n    s.total += 1",
        "def f(self):\n    s = self.slots\n    idle = s.idle\n    del idle[0]",
        "def f(self):\n    idle = self.slots.idle\n    def g():\n        idle.pop()",
        "def f(self):\n    idle = self.slots.idle\n    idle += [1]",
        "lambda: self.slots.idle.pop()",
        "@decorated\nclass A:\n    def f(self):\n        self.slots.total = 1",
        "def f(self):\n    if (idle := self.slots.idle):\n        idle.pop()",
    ],
)
def test_a_change_of_slots_elsewhere_is_found(source: str) -> None:
    assert len(changes_of_slots(source)) == 1


@pytest.mark.parametrize(
    "source",
    [
        "if slots.total and not slots.waiters: pass",
        "count = len(self.slots.idle) + self.slots.opening",
        "entry = self.slots.idle[-1]",
        "for entry in list(self.slots.idle): self.slots.reserve(entry)",
        "self.slots.checkin()",
        "self.slots.limits.max_overflow = 3",
        "self.slots = Slots(limits)",
        "self.total = 3",
        "self.opening += 1",
        "stats.total += 1",
        "self.idle.append(entry)",
        "setattr(self, 'in_use', 3)",
        "setattr(self.slots, name, 3)",
        "self.slots.idle.index(entry)",
        "self.slots.idle.copy().pop()",
        "def f(self):\n    idle = list(self.slots.idle)\n    idle.pop()",
        "def f(self):\n    idle = self.slots.idle\ndef g(idle):\n    idle.pop()",
    ],
)
def test_reading_slots_and_calling_its_methods_is_allowed(source: str) -> None:
    assert changes_of_slots(source) == []


# -------------------------------------------------------------------------------- minus infinity


def negative_infinities(source: str) -> list[str]:
    """Every minus infinity, as `line: what`; a name that is assigned an infinity is one too."""
    tree = ast.parse(source)
    names = {"inf"} | {
        name for name, value in _assigned_names(ast.walk(tree)) if _is_infinity(value, set())
    }
    found = {
        (node.lineno, ast.unparse(node))
        for node in ast.walk(tree)
        if (
            isinstance(node, ast.UnaryOp)
            and isinstance(node.op, ast.USub)
            and _is_infinity(node.operand, names)
        )
        or (isinstance(node, ast.Call) and _float_of(node) == float("-inf"))
    }
    return [f"{line}: {what}" for line, what in sorted(found)]


def _is_infinity(node: ast.expr, names: set[str]) -> bool:
    if isinstance(node, ast.Name):
        return node.id in names or _means_infinity(node.id)
    if isinstance(node, ast.Attribute):
        return _means_infinity(node.attr)
    if isinstance(node, ast.Constant):
        return node.value == float("inf")
    return isinstance(node, ast.Call) and _float_of(node) == float("inf")


def _means_infinity(name: str) -> bool:
    """`math.inf`, and constants that may have been imported."""
    return name.strip("_").lower() in {"inf", "infinity", "never"}


def _float_of(call: ast.Call) -> float | None:
    """The number that `float("...")` makes."""
    match call:
        case ast.Call(func=ast.Name(id="float"), args=[ast.Constant(value=str(text))]):
            try:
                return float(text)
            except ValueError:
                return None
    return None


def test_no_state_of_the_pool_is_minus_infinity() -> None:
    found = [
        f"{path.relative_to(PACKAGE_ROOT)}:{what}"
        for path in sorted((PACKAGE_ROOT / "pool").rglob("*.py"))
        for what in negative_infinities(path.read_text())
    ]
    assert found == []


@pytest.mark.parametrize(
    "source",
    [
        "entry.expires_at = -inf",
        "entry.validated_at = -math.inf",
        "entry.validated_at = float('-inf')",
        "entry.validated_at = float(' -Infinity')",
        "entry.validated_at = -float('inf')",
        "entry.validated_at = -1e999",
        "if entry.expires_at == -_NEVER: pass",
        "_LONG_AGO = float('inf')\nentry.validated_at = -_LONG_AGO",
        "_LONG_AGO: float = math.inf\ndef f(at=-_LONG_AGO): pass",
    ],
)
def test_a_minus_infinity_is_found(source: str) -> None:
    assert len(negative_infinities(source)) == 1


@pytest.mark.parametrize(
    "source",
    [
        "entry.expires_at = math.inf",
        "deadline = float('inf')",
        "if most == float('inf'): pass",
        "_NEVER = float('inf')",
        "entry.expires_at = None",
        "x = -1.5",
        "x = -seconds",
        "x = -float(text)",
    ],
)
def test_other_numbers_are_allowed(source: str) -> None:
    assert negative_infinities(source) == []
