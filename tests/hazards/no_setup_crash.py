"""
After ``no_setup()``: the end of a reactor by ``crash()`` is noticed at once, and without polling.
"""

from _own_reactor import check_noticed
from _verdict import judge
from twisted.internet import reactor

judge(lambda: check_noticed(lambda: reactor.crash(), lambda: reactor.run()))
