"""
The rules of the house, by the syntax of its source: who uses whom, and by which names.

Each rule is a function that looks for breaches in one module or in all of them, and says what is
wrong with each. It is put to the package, and to a few lines that break it. What is excepted stands
in a table, with the reason; an exception that is not needed any more is a failure, too.
"""

from __future__ import annotations

import ast
import re
import textwrap
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

import crochet

_SOURCE = Path(crochet.__file__).parent
_PLUGIN = _SOURCE.parent / "_crochet_pytest.py"

# The folders, and the modules that stand beside them. Each imports from those to its right only,
# from the rows below here, and none from its own row.
_ORDER = (
    ("__init__", "__main__"),
    ("_legacy", "scrapy"),
    ("_api",),
    ("_interactive", "testing"),
    ("_streams", "_stash"),
    ("_lifecycle",),
    ("_diagnostics",),
    ("_reactor",),
    ("_core",),
    ("_coroutines", "_logs"),
    ("_threads", "_errors", "mypy"),
)

# What stands with another, as if it were in a folder with it. Those are its types and old names.
_STANDS_WITH = {"_eventloop": "_api"}


class Module(NamedTuple):
    """
    A module of ours, named as from the package's root: ``_core.call``.
    """

    name: str
    tree: ast.Module

    @property
    def folder(self) -> str:
        """
        Where it is, or with whom it stands; of a module beside the folders its own name.
        """
        first = self.name.partition(".")[0]
        return _STANDS_WITH.get(first, first)


def _modules() -> list[Module]:
    paths = [*_SOURCE.rglob("*.py"), *_SOURCE.rglob("*.pyi")]  # those are for type checkers only
    return [
        Module(
            ".".join(path.relative_to(_SOURCE).with_suffix("").parts),
            ast.parse(path.read_text(), str(path)),
        )
        for path in sorted(paths)
    ]


MODULES = _modules()


class Import(NamedTuple):
    """
    That a module imports another of ours.
    """

    module: Module
    used: Module
    is_typing_only: bool
    line: int


def _imports(module: Module, modules: list[Module]) -> Iterator[Import]:
    """
    Yield what of ours a module imports, anywhere in it, in functions, too.
    """
    by_name = {each.name: each for each in modules}
    package = module.name.split(".")[:-1]

    def look(node: ast.AST, *, is_typing_only: bool) -> Iterator[Import]:
        if isinstance(node, ast.ImportFrom) and node.level:
            base = package[: len(package) + 1 - node.level]
            base += node.module.split(".") if node.module else []
            for alias in node.names:
                names = [".".join([*base, *more]) for more in ([alias.name], [], ["__init__"])]
                used = next((name for name in names if name in by_name), None)
                assert used is not None, f"{module.name} imports {names[0]}, and there is no such"
                yield Import(module, by_name[used], is_typing_only, node.lineno)
        for child in ast.iter_child_nodes(node):
            is_for_types = isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
            yield from look(child, is_typing_only=is_typing_only or is_for_types)

    yield from look(module.tree, is_typing_only=False)


_ORDER_ALLOWED: dict[tuple[str, str], str] = {}


def _order(modules: list[Module]) -> Iterator[str]:
    """
    Find imports against the order of the folders.
    """
    rows = {folder: number for number, row in enumerate(_ORDER) for folder in row}
    for module in modules:
        if module.folder not in rows:
            yield f"{module.name}: give {module.folder} its place in _ORDER"
            continue
        for each in _imports(module, modules):
            used = each.used.folder
            if used != module.folder and rows.get(used, -1) <= rows[module.folder]:
                yield (
                    f"{module.name}:{each.line} imports {each.used.name}, and {module.folder} "
                    f"stands to the right of {used} in _ORDER, or beside it: who imports whom is "
                    "to be seen from the folder. Move what both need to the right"
                )


def _cycles(modules: list[Module]) -> Iterator[str]:
    """
    Find modules that cannot be loaded one without the other.
    """
    used: dict[str, list[str]] = {
        module.name: [
            each.used.name
            for each in _imports(module, modules)
            if not each.is_typing_only and each.used.name != module.name
        ]
        for module in modules
    }
    done: set[str] = set()

    def follow(name: str, path: list[str]) -> Iterator[str]:
        if name in path:
            circle = " > ".join([*path[path.index(name) :], name])
            yield f"{circle}: none of these can be read, tested or loaded without all the others"
        elif name not in done:
            for each in used[name]:
                yield from follow(each, [*path, name])
            done.add(name)

    for name in used:
        yield from follow(name, [])


def _absolute(module: Module) -> Iterator[str]:
    """
    Find imports of ours that the order of the folders does not see.
    """
    for node in ast.walk(module.tree):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom) and not node.level:
            names = [node.module or ""]
        for name in names:
            if name.split(".")[0] == "crochet":
                yield f"{module.name}: imports {name} by its absolute name, past the folders' order"


# One-step tricks: what is caught, and which functions may have raised it because another thread, a
# signal handler or a destructor was faster.
_TRICKS: dict[str, set[str]] = {
    "AttributeError": {"del"},
    "IndexError": {"pop", "popleft"},
    "KeyError": {"pop", "popitem", "del"},
    "ValueError": {"remove"},
    "RuntimeError": {"release", "acquire"},
    "Empty": {"get", "get_nowait"},
}

_RAW = {"allocate_lock", "LockType", "RLock", "is_a_handlers"}


def _raw_locks(module: Module) -> Iterator[str]:
    """
    Find raw locks, and what is told by an exception whether it was the first.
    """
    if module.folder == "_threads":
        return
    for node in ast.walk(module.tree):
        name = getattr(node, "id", getattr(node, "attr", getattr(node, "name", None)))
        if isinstance(node, (ast.Name, ast.Attribute, ast.alias)) and name in _RAW:
            yield (
                f"{module.name}: {name} is for _threads/primitives.py: a raw lock may be left "
                "locked by a signal's exception or a fork, which is thought through there, once. "
                "Use Waiter, Latch or Hold"
            )
        for what, trick in _tricks(node):
            yield (
                f"{module.name}: {trick} with `except {what}` takes what a signal handler raises "
                "just then for what the function of C raises, and loses it. Use claim(), take(), "
                "discard() or pop_first() of _threads/primitives.py, which tell one from the other"
            )


def _tricks(node: ast.AST) -> Iterator[tuple[str, str]]:
    caught: list[ast.AST] = []
    body: list[ast.stmt] = []
    if isinstance(node, ast.Try):
        caught, body = [each.type for each in node.handlers if each.type is not None], node.body
    elif isinstance(node, ast.With):
        caught = [each.context_expr for each in node.items if "suppress" in ast.dump(each)]
        body = node.body
    names = {each.id for one in caught for each in ast.walk(one) if isinstance(each, ast.Name)}
    for statement in body:
        for each in ast.walk(statement):
            trick = None
            if isinstance(each, ast.Delete) and not isinstance(each.targets[0], ast.Name):
                trick = "del"
            elif isinstance(each, ast.Call) and isinstance(each.func, ast.Attribute):
                trick = each.func.attr
            for name in sorted(names & _TRICKS.keys()):
                if trick in _TRICKS[name]:
                    yield name, f"{trick}()" if trick != "del" else trick


# By module, and by a word of the message.
_RAW_ALLOWED = {
    # Whose locks they are.
    ("_diagnostics.deadlock", "RLock"): "tells the program's own locks from other things",
    # Locks that are held for long, by threads that may wait for one another.
    ("_lifecycle.lifecycle", "RLock"): "setup() and shutdown() by several threads, and within one",
    ("_lifecycle.lifecycle", "is_a_handlers"): "of that lock, which may not have been acquired",
    ("_lifecycle.lifecycle", "release()"): "the same",
}

# What runs Python code when an object is dropped.
_WEAK = {"WeakSet", "WeakKeyDictionary", "WeakValueDictionary", "WeakMethod", "finalize"}


def _destructors(module: Module) -> Iterator[str]:
    """
    Find what is done as an object is dropped.
    """
    why = (
        "runs as an object is dropped, anywhere, and what a signal handler raises there is lost. "
        "Use a Finalizer of _threads/finalizer.py"
    )
    for node in ast.walk(module.tree):
        name = getattr(node, "id", getattr(node, "attr", getattr(node, "name", None)))
        if name == "__del__" or (isinstance(node, (ast.Name, ast.Attribute)) and name in _WEAK):
            yield f"{module.name}: {name} {why}"
        elif isinstance(node, ast.Call) and len(node.args) == 2:
            called = getattr(node.func, "id", getattr(node.func, "attr", None))
            if called == "ref":
                yield f"{module.name}: {ast.unparse(node.args[1])} of a weak reference {why}"


_DESTRUCTORS_ALLOWED = {
    ("_threads.finalizer", "__del__"): "it is a property, whose getter is a function of C",
    ("_core.bridge", "self._forget"): "that of a set, a function of C",
    ("testing._leaks", "WeakSet"): "for the length of a test of the program's",
}


def _frames_of_ours(module: Module) -> Iterator[str]:
    """
    Find what is decided by frames, code, local variables or files of ours.
    """
    why = "who waits for what is data, see Bridge.waits and Bridge.body; is_ours() tells whose code"
    bound = _bound_to_ours(module.tree)
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Attribute):
            if node.attr in {"f_locals", "co_varnames", "co_names", "co_consts", "co_cellvars"}:
                yield f"{module.name}: {node.attr} of a frame is nobody's interface; {why}"
            root = _root_of(node)
            if node.attr in {"__code__", "__file__"} and root in bound:
                yield f"{module.name}: {ast.unparse(node)} is code of ours; {why}"
        elif isinstance(node, ast.Name) and node.id in {"__file__", "__package__", "__path__"}:
            yield f"{module.name}: {node.id} changes when a file moves, and nobody notices; {why}"
        elif isinstance(node, (ast.Compare, ast.Set, ast.Tuple, ast.List)) and "__name__" in {
            each.id for each in ast.walk(node) if isinstance(each, ast.Name)
        }:
            yield f"{module.name}: __name__ changes when a file moves, and nobody notices; {why}"
    files = {f"{each.name.split('.')[-1]}.py" for each in MODULES}
    for text in _texts(module.tree):
        if text.replace("\\", "/").rsplit("/", 1)[-1] in files and " " not in text:
            yield f"{module.name}: {text!r} is a file of ours, which may move; {why}"


def _bound_to_ours(tree: ast.Module) -> set[str]:
    """
    Return the names that stand for something of ours in a module.
    """
    bound: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.level:
            bound.update(alias.asname or alias.name for alias in node.names)
        elif isinstance(node, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            bound.add(node.name)
    return bound - {"function"}  # a name of parameters


def _root_of(node: ast.expr) -> str | None:
    while isinstance(node, ast.Attribute):
        node = node.value
    return node.id if isinstance(node, ast.Name) else None


def _texts(tree: ast.Module) -> Iterator[str]:
    """
    Yield the string constants that are no docstrings.
    """
    docstrings = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef))
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    for node in ast.walk(tree):
        is_text = isinstance(node, ast.Constant) and id(node) not in docstrings
        if is_text and isinstance(node.value, str):
            yield node.value


_FRAMES_ALLOWED = {
    ("_api", "__package__"): "the package, in a text",
    ("_legacy", "__package__"): "the same",
    ("_diagnostics.frames", "__file__"): "is_ours(), by the package's root folder",
    ("_diagnostics.deadlock", "f_locals"): "of Thread.join(), imports and the program's locks",
    ("_reactor.pool", "f_locals"): "of Twisted's, which has what its pool's worker was given",
    ("_logs.writer", "__file__"): "where a record of its own is made; it is compared with nothing",
    ("_logs.observer", "__name__"): "leaves itself out as it looks for who has logged something",
    ("__main__", "__name__"): "whether it is run as a program",
    ("__main__", "__package__"): "the package, which it imports",
}


def _is_private(name: str) -> bool:
    return name.startswith("_") and not name.endswith("__")


def _private_names(module: Module) -> Iterator[str]:
    """
    Yield the underscore names of the objects that a module's classes make.
    """
    for node in ast.walk(module.tree):
        if not isinstance(node, ast.ClassDef):
            continue
        for each in ast.walk(node):
            if isinstance(each, ast.Attribute) and not isinstance(each.ctx, ast.Load):
                if _root_of(each) in {"self", "cls"}:
                    yield each.attr
            elif isinstance(each, (ast.FunctionDef, ast.AsyncFunctionDef)):
                yield each.name
        for statement in node.body:
            targets: list[ast.expr] = []
            if isinstance(statement, ast.Assign):
                targets = statement.targets
            elif isinstance(statement, ast.AnnAssign):
                targets = [statement.target]
            for target in targets:
                if isinstance(target, ast.Name):
                    yield target.id
                    if target.id == "__slots__" and statement.value is not None:
                        yield from (
                            each.value
                            for each in ast.walk(statement.value)
                            if isinstance(each, ast.Constant) and isinstance(each.value, str)
                        )


def _used_names(module: Module) -> Iterator[str]:
    """
    Yield the names that a module asks of objects, of which it may not know more than the name.
    """
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Attribute):
            yield node.attr
        elif isinstance(node, ast.keyword) and node.arg is not None:
            yield node.arg  # vars(owner).update(name=value)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value  # getattr(owner, "name")


def _others_names(modules: list[Module]) -> Iterator[str]:
    """
    Find what is asked of objects of other folders behind their backs.
    """
    owners: defaultdict[str, set[str]] = defaultdict(set)
    for module in modules:
        for name in filter(_is_private, _private_names(module)):
            owners[name].add(module.folder)
    for module in modules:
        for name in sorted({*filter(_is_private, _used_names(module))}):
            folders = owners.get(name)
            if folders and module.folder not in folders:
                yield (
                    f"{module.name}: {name} belongs to {' and '.join(sorted(folders))}, whose "
                    "tests know nothing of this use. Give the owner a property or a method"
                )


_OTHERS_NAMES_ALLOWED = {
    ("_reactor.forked", "_exit"): "of the module os",
    ("_reactor.forked", "_selectables"): "of Twisted's reactors that poll",
    ("_diagnostics.waits_on", "_callbacks"): "of Deferreds and asyncio's futures",
    ("_diagnostics.waits_on", "_children"): "of what asyncio.gather() returns",
    ("_diagnostics.waits_on", "_tasks"): "of asyncio's task groups",
    ("testing._clock", "_is_set_up"): "setup() is to do nothing on a clock: the loop lends it none",
    ("testing._clock", "_life"): "the same",
    ("testing._clock", "_has_logs"): "the same",
    ("_crochet_pytest", "_is_set_up"): "whether the suite has started the reactor by itself",
    ("_crochet_pytest", "_life"): "what runs it, for where it is when a test leaves something",
}


def _looks_at_threads(module: Module) -> Iterator[str]:
    """
    Find looks at other threads, and imports of the reactor.
    """
    for node in ast.walk(module.tree):
        if "_current_frames" in {getattr(node, "attr", None), getattr(node, "name", None)}:
            yield (
                f"{module.name}: _current_frames is for frames_of_threads() of _threads: in a "
                "child that Python does not know for one, CPython crashes as it looks at some"
            )
    for function in [None, *ast.walk(module.tree)]:
        if function is not None and not isinstance(function, ast.FunctionDef):
            continue
        for node in ast.walk(function) if function else _outside_functions(module.tree):
            name = ""
            if isinstance(node, ast.ImportFrom):
                name = f"{node.module}.{node.names[0].name}"
            elif isinstance(node, ast.Import):
                name = node.names[0].name
            if name == "twisted.internet.reactor":
                where = "at its top" if function is None else f"in {function.name}()"
                yield (
                    f"{module.name} imports the reactor {where}: the first import installs one, "
                    "and which, is the program's choice. Ask import_reactor()"
                )


def _outside_functions(node: ast.AST) -> Iterator[ast.AST]:
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield child
            yield from _outside_functions(child)


_LOOKS_ALLOWED = {
    ("_threads.threads", "_current_frames"): "the one that looks",
    ("_reactor.reactor", "import_reactor()"): "the one that imports",
}


def _unexpected(breaches: list[str], allowed: dict[tuple[str, str], str]) -> list[str]:
    """
    Return the breaches that are not allowed, and what is allowed for nothing.
    """
    left = list(breaches)
    for module, word in allowed:
        pattern = rf"{re.escape(module)}\b.*(?<!\w){re.escape(word)}"
        found = [each for each in breaches if re.match(pattern, each)]
        left = [each for each in left if each not in found]
        if not found:
            left.append(f"{module} does not need to be excepted for {word} any more: take it out")
    return left


def _each(rule: Callable[[Module], Iterator[str]], modules: list[Module]) -> list[str]:
    return [breach for module in modules for breach in rule(module)]


class TestOrder:
    """
    Who imports whom.
    """

    def test_of_folders_is_kept(self) -> None:
        """
        So that a reader of one folder has to know those to the right of it only, and none of them
        depends on it.
        """
        assert _unexpected(list(_order(MODULES)), _ORDER_ALLOWED) == []

    def test_has_no_cycles(self) -> None:
        """
        Inside a folder, neither, at run time.
        """
        assert list(_cycles(MODULES)) == []

    def test_can_be_seen(self) -> None:
        """
        For no module imports the package by its name.
        """
        assert _each(_absolute, MODULES) == []


class TestPrimitives:
    """
    What signals, forks and other threads may come in between of.
    """

    def test_are_in_one_folder(self) -> None:
        """
        The rest calls them by name.
        """
        assert _unexpected(_each(_raw_locks, MODULES), _RAW_ALLOWED) == []

    def test_are_all_that_runs_as_objects_are_dropped(self) -> None:
        """
        There is no destructor, for Python drops what is raised in one.
        """
        assert _unexpected(_each(_destructors, MODULES), _DESTRUCTORS_ALLOWED) == []


class TestFrames:
    """
    Of ours decide nothing.
    """

    def test_are_not_read(self) -> None:
        """
        To rename a local variable or to move a file would switch features off in silence.
        """
        assert _unexpected(_each(_frames_of_ours, MODULES), _FRAMES_ALLOWED) == []

    def test_of_other_threads_are_looked_at_by_one_function(self) -> None:
        """
        And one imports the reactor.
        """
        assert _unexpected(_each(_looks_at_threads, MODULES), _LOOKS_ALLOWED) == []


class TestUnderscores:
    """
    Are for those who have made them.
    """

    def test_of_other_folders_are_left_alone(self) -> None:
        """
        The pytest plugin is another folder.
        """
        plugin = Module("_crochet_pytest", ast.parse(_PLUGIN.read_text()))
        breaches = list(_others_names([*MODULES, plugin]))
        assert _unexpected(breaches, _OTHERS_NAMES_ALLOWED) == []

    # (Which private names of Twisted's and asyncio's are used is a rule of its own.)


def _made(**sources: str) -> list[Module]:
    """
    Return modules of those names, with a double underscore for each dot.
    """
    return [
        Module(name.replace("__", "."), ast.parse(textwrap.dedent(source)))
        for name, source in sources.items()
    ]


class TestBreaches:
    """
    Are found: each rule is put to a few lines that break it.
    """

    @pytest.mark.parametrize(
        ("sources", "breach"),
        [
            ({"_core__call": "from .._reactor import a", "_reactor__a": ""}, "_core.call:1"),
            (
                {"_core__call": "if x:\n from .._reactor import a", "_reactor__a": ""},
                "_core.call:2",
            ),
            ({"_logs__writer": "from .. import _coroutines", "_coroutines": ""}, "or beside it"),
            ({"_new__thing": ""}, "give _new its place"),
        ],
    )
    def test_of_the_order(self, sources: dict[str, str], breach: str) -> None:
        """
        At the top or farther in, and between two of one row.
        """
        (found,) = _order(_made(**sources))
        assert breach in found

    @pytest.mark.parametrize(
        ("source", "breach"),
        [
            ("class A:\n def __del__(self): ...", "__del__ runs"),
            ("class A:\n __del__ = close", "__del__ runs"),
            ("weakref.ref(a, lambda _: b())", "lambda _: b() of a weak reference"),
            ("weakref.finalize(a, b)", "finalize runs"),
            ("known = WeakSet()", "WeakSet runs"),
        ],
    )
    def test_of_destructors(self, source: str, breach: str) -> None:
        """
        Of any kind.
        """
        (found,) = _each(_destructors, _made(_core__call=source))
        assert breach in found

    def test_of_cycles(self) -> None:
        """
        What is for type checkers only makes none.
        """
        sources = {"_core__call": "from .bridge import x", "_core__bridge": "from .call import x"}
        (found,) = _cycles(_made(**sources))
        assert "_core.call > _core.bridge > _core.call" in found
        sources["_core__bridge"] = "if TYPE_CHECKING:\n from .call import x"
        assert list(_cycles(_made(**sources))) == []

    def test_of_relative_names(self) -> None:
        """
        By either statement.
        """
        for source in ("import crochet._core.call", "from crochet import setup"):
            (found,) = _absolute(*_made(_core__call=source))
            assert "absolute" in found

    @pytest.mark.parametrize(
        ("source", "number"),
        [
            ("from _thread import allocate_lock", 1),
            ("lock = threading.RLock()", 1),
            ("try: del call.work\nexcept AttributeError: pass", 1),
            ("try: item = items.pop()\nexcept (IndexError, TypeError): pass", 1),
            ("try: del entries[1]\nexcept KeyError: pass", 1),
            ("with suppress(ValueError):\n items.remove(1)", 1),
            ("try: gate.release()\nexcept RuntimeError as error: is_a_handlers(error)", 2),
            ("item = items.pop()\nlast = entries.pop(1, None)", 0),
            ("try: value = owner.name\nexcept AttributeError: pass", 0),
        ],
    )
    def test_of_primitives(self, source: str, number: int) -> None:
        """
        Locks by name, tricks by what is caught; in the folder itself all is fine.
        """
        assert len(list(_raw_locks(*_made(_core__call=source)))) == number
        assert list(_raw_locks(*_made(_threads__primitives=source))) == []

    @pytest.mark.parametrize(
        ("source", "number"),
        [
            ("gate = frame.f_locals['gate']", 1),
            ("is_ours = 'gate' in frame.f_code.co_varnames", 1),
            ("from .call import Call\nis_start = frame.f_code is Call.start.__code__", 1),
            ("class Call:\n pass\ncodes = (Call.start.__code__,)", 1),
            ("from . import call\nfiles = (__file__, call.__file__)", 2),
            ("is_ours = name == __name__.partition('.')[0]", 1),
            ("between = {'twisted', __name__}", 1),
            ("is_wait = file.endswith('_core/waiting.py')", 1),
            ("join = threading.Thread.join.__code__\nfile = os.__file__", 0),
            ("'''See call.py'''\ntext = 'it is in call.py, line 7'", 0),
        ],
    )
    def test_of_frames(self, source: str, number: int) -> None:
        """
        Local variables, code and files of ours; not those of others, nor what texts say.
        """
        assert len(list(_frames_of_ours(*_made(_diagnostics__explain=source)))) == number

    @pytest.mark.parametrize(
        ("source", "number"),
        [
            ("x = bridge._queue", 1),
            ("bridge._queue = []", 1),
            ("x = getattr(bridge, '_queue')", 1),
            ("vars(bridge).update(_queue=[])", 1),
            ("x = bridge._carry()", 1),
            ("x = bridge._slot", 1),
            ("x = bridge.queue + reactor._poller", 0),
            ("class Other:\n def __init__(self): self._queue = []\nx = other._queue", 0),
        ],
    )
    def test_of_underscores(self, source: str, number: int) -> None:
        """
        Of what another folder's class has, in each way to get at it; who has one of that name
        itself is not found out.
        """
        owner = """
            class Bridge:
                __slots__ = ("_slot",)

                def __init__(self):
                    self._queue = []

                def _carry(self): ...
            """
        found = list(_others_names(_made(_core__bridge=owner, _logs__writer=source)))
        assert len(found) == number
        assert list(_others_names(_made(_core__bridge=owner, _core__call=source))) == []

    @pytest.mark.parametrize(
        ("source", "breach"),
        [
            ("frames = sys._current_frames()", "_current_frames"),
            ("from sys import _current_frames", "_current_frames"),
            ("from twisted.internet import reactor", "at its top"),
            ("import twisted.internet.reactor", "at its top"),
            ("def look():\n from twisted.internet import reactor", "in look()"),
        ],
    )
    def test_of_looks(self, source: str, breach: str) -> None:
        """
        And of imports of the reactor.
        """
        (found,) = _looks_at_threads(*_made(_core__call=source))
        assert breach in found

    def test_that_are_allowed_have_to_be_there(self) -> None:
        """
        Or the exception is taken out.
        """
        allowed = {("_core.call", "RLock"): "for want of a better one"}
        assert _unexpected(["_core.call: RLock is for others"], allowed) == []
        (left,) = _unexpected([], allowed)
        assert "_core.call does not need to be excepted for RLock any more" in left
        (left,) = _unexpected(["_core.call: RLock", "_core.calling: RLock"], allowed)
        assert left == "_core.calling: RLock"
