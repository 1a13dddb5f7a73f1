"""
A session of autobahn-sync's, with a small router in the same reactor.
"""

import faulthandler
import json
import threading

from autobahn.twisted.websocket import WebSocketServerFactory, WebSocketServerProtocol
from autobahn_sync import AutobahnSync

import crochet

HELLO, WELCOME, GOODBYE, PUBLISH, SUBSCRIBE, SUBSCRIBED, EVENT = 1, 2, 6, 16, 32, 33, 36


class Router(WebSocketServerProtocol):
    def onConnect(self, request):
        return "wamp.2.json"

    def onMessage(self, payload, isBinary):
        kind, *rest = json.loads(payload)
        answer = {
            HELLO: lambda: [WELCOME, 1, {"roles": {"broker": {}}}],
            SUBSCRIBE: lambda: [SUBSCRIBED, rest[0], 5],
            PUBLISH: lambda: [EVENT, 5, 7, {}, *rest[3:]],
            GOODBYE: lambda: [GOODBYE, {}, "wamp.close.goodbye_and_out"],
        }[kind]()
        self.sendMessage(json.dumps(answer).encode())


# Should it not end, it says where it stands, and fails.
faulthandler.dump_traceback_later(300, exit=True)
crochet.setup()


@crochet.wait_for(timeout=30)
def listen():
    from twisted.internet import reactor

    factory = WebSocketServerFactory(protocols=["wamp.2.json"])
    factory.protocol = Router
    return reactor.listenTCP(0, factory, interface="127.0.0.1").getHost().port


app, heard = AutobahnSync(), threading.Event()
app.run(url=f"ws://127.0.0.1:{listen()}/ws")


@app.subscribe("com.example.greeting")
def greet(name):
    print("hello", name, flush=True)
    heard.set()


app.session.publish("com.example.greeting", "world")
assert heard.wait(30)
