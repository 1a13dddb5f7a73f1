"""
Background downloads for the visitors of a Flask site: Crochet at work in a small program.

Run it from the top of the checkout with `python -m demo`. Read it in this order:

- `downloads` is the Twisted side: one download, as a coroutine that runs in the reactor thread.
- `jobs` is the bridge: it starts downloads, keeps them in Crochet's stash between two requests,
  and looks at them when a visitor does.
- `app` is the Flask side: ordinary blocking views that know nothing of Twisted.

The rest is what a real program has too: `urls` says what is wrong with an address somebody
typed, `addresses` keeps visitors out of the private network, `origin` is a web server to
download from without a network, and `tour` is a visitor who tries everything.
"""
