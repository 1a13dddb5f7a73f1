"""
``import crochet`` has no effect: no thread, reactor, log handler, signal handler, hook, warning.
"""

from _verdict import check, judge, run_python

PROGRAM = """
    import atexit, gc, logging, os, signal, sys, threading, warnings
    import concurrent.futures, random, secrets  # which have effects of their own
    import twisted.internet.defer, twisted.logger, twisted.python.failure

    hooks = []
    register, register_at_fork = atexit.register, getattr(os, "register_at_fork", None)
    def noting(name, original):
        def hook(*args, **kwargs):
            caller = sys._getframe(1).f_globals["__name__"]
            if caller.startswith("crochet"):
                hooks.append(name)
            return original(*args, **kwargs)
        return hook
    atexit.register = noting("atexit", register)
    if register_at_fork:
        os.register_at_fork = noting("at fork", register_at_fork)

    def state():
        return {
            "threads": threading.active_count(),
            "reactor": "twisted.internet.reactor" in sys.modules,
            "signals": [signal.getsignal(number) for number in signal.valid_signals()],
            "handlers": [list(logging.getLogger(name).handlers) for name in (None, "twisted")],
            "observers": list(twisted.logger.globalLogPublisher._observers),
            "showwarning": warnings.showwarning,
            "filters": list(warnings.filters),
            "excepthooks": (sys.excepthook, threading.excepthook, sys.unraisablehook),
            "logger class": logging.getLoggerClass(),
            "collector": gc.get_threshold(),
        }

    before = state()
    import crochet
    crochet.wait_for(timeout=1)(lambda: None)
    crochet.run_in_reactor(lambda: None)
    after = state()
    print(*(name for name in before if before[name] != after[name]), *hooks, sep=", ")
"""


def hazard():
    ended = run_python(PROGRAM).check_clean()
    check(not ended.out.strip(), f"changed: {ended.out.strip()}")
    return "none"


judge(hazard)
