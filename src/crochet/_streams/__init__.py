"""
Many values. An async generator, or whatever else can be iterated over in the reactor thread, as an
iterator for blocking code: made by a decorator (iterating), it runs in one task (drive, pause), its
items go through a pipe to the thread that asks for them (pipe, consumer), which sees a Stream
(stream, heartbeat, async_stream), and tells it to end (closing). A Channel is such a source for
code with callbacks (channel). Async context managers (context). Whole objects, by proxies: made
for each class (objects, wrapping, proxy), of what is known of it (signatures, fitting), with what
its methods return made fit for blocking code (adopting). And several results at once (together).

What must always hold: a body goes no further than its consumer lets it, and ends when the consumer
does, once, in the task that it began in. Items arrive in their order, each once, and an error after
the items before it. Nobody waits for what cannot come.
"""
