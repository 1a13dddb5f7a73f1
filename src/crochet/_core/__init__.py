"""
One call: a decorated function makes it (decorators), the bridge carries it to the reactor thread
(bridge), it runs there and gets its answer (call), the thread that made it blocks for that
(waiting), and an error is stored and raised where it is taken (failure). EventualResult is its
public handle (result). Every accepted call is answered exactly once, whatever ends the reactor.
"""
