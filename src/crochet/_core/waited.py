"""
What ``wait_for`` makes of a function: one that has ``with_timeout``, also as a method.

A plain function cannot have that. Its bound method hands on its attributes as they are, so that
the ``with_timeout`` of ``client.fetch.with_timeout(2.0)`` would not know of the client. So it is
an object that holds the plain function and binds itself. What must hold:

1. To a program it is that function: what is looked up on it or set, and is not told here, is the
   function's, and ``isinstance()`` says function or method. Tools find out by it what they may do:
   Celery, Sphinx, unittest.mock, inspect.
2. A call costs no more than a few hundredths of what it did. A partial calls in C, with no frame in
   tracebacks; a ``__call__`` written here would be slower, and seen.
"""

from __future__ import annotations

from functools import partial
from types import FunctionType, MethodType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .._threads.timeouts import Seconds

# No annotations in the classes: those would be looked up on each function.

_new = partial.__new__


class WaitedFunction(partial[object]):
    """
    A function that is called in the place of another, and binds to instances as one does.
    """

    def __get__(self, instance: object, owner: type[object] | None = None) -> object:  # type: ignore[override, unused-ignore]
        if instance is None:
            return self
        if instance is owner:  # a classmethod asks, up to Python 3.12; then it does this itself
            return MethodType(self, instance)
        method = _new(WaitedMethod, self.func, instance)  # faster than WaitedMethod(self, instance)
        method.__func__ = self  # type: ignore[attr-defined]  # pyright: ignore
        return method

    __class__ = property(lambda self: FunctionType)  # pyright: ignore

    # An instance has these from its class, if it is not told here. All else comes by __getattr__.
    __dict__ = property(lambda self: vars(self.func))  # pyright: ignore
    __doc__ = property(lambda self: self.func.__doc__)  # pyright: ignore[reportAssignmentType]
    __module__ = property(lambda self: self.func.__module__)  # pyright: ignore[reportAssignmentType]

    def __getattr__(self, name: str) -> object:
        return getattr(self.func, name)

    def __setattr__(self, name: str, value: object) -> None:
        setattr(self.func, name, value)

    def __delattr__(self, name: str) -> None:
        delattr(self.func, name)

    def __reduce__(self) -> str:
        return self.func.__qualname__  # pickled by its name, and not copied

    def __repr__(self) -> str:
        return f"<function {self.func.__qualname__} at {id(self):#x}>"


class WaitedMethod(partial[object]):
    """
    Such a function, bound to an instance.
    """

    __slots__ = ("__func__",)

    def __new__(cls, function: WaitedFunction, instance: object) -> WaitedMethod:
        method = _new(cls, function.func, instance)
        method.__func__ = function  # type: ignore[attr-defined]  # pyright: ignore
        return method

    def with_timeout(self, timeout: Seconds) -> object:
        """
        Return the same method with another timeout, in seconds.
        """
        return vars(self.func)["with_timeout"](timeout).__get__(self.__self__)

    @property
    def __self__(self) -> object:
        return self.args[0]

    __class__ = property(lambda self: MethodType)  # pyright: ignore

    def __get__(self, instance: object, owner: type[object] | None = None) -> object:  # type: ignore[override, unused-ignore]
        return self

    __dict__ = property(lambda self: vars(self.func))  # pyright: ignore
    __doc__ = property(lambda self: self.func.__doc__)  # pyright: ignore[reportAssignmentType]
    __module__ = property(lambda self: self.func.__module__)  # pyright: ignore[reportAssignmentType]

    def __getattr__(self, name: str) -> object:
        return getattr(self.func, name)

    def __eq__(self, other: object) -> bool:
        if type(other) is not WaitedMethod:
            return NotImplemented
        return self.__self__ is other.__self__ and self.__func__ is other.__func__

    def __hash__(self) -> int:
        return hash((id(self.__self__), self.__func__))

    def __reduce__(self) -> tuple[object, ...]:
        return getattr, (self.__self__, self.func.__name__)

    def __repr__(self) -> str:
        return f"<bound method {self.func.__qualname__} of {self.__self__!r}>"
