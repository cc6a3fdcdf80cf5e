"""HTTP/1.1 towards the vendors: connections that are kept alive, and the way to make new ones.

From the bottom: `head` is what a request begins with and what an answer's headers are read through; `connection` is one
connection, a protocol of asyncio's under a parser in C; `dial` makes one, by `tunnel` if a proxy of `proxies` stands in
between; `pool` keeps those of one provider. It knows nothing of models, money or failures: `proxy.upstream` does.
"""
