"""The commands that ask a running tollhouse, over its admin API: `health`, `costs`, `export`, `keys`.

A `window` of time is read and cut (pure), the `client` asks, each command has a room of its own, and the `screen` shows
tables: for people on a terminal, plainly for whatever reads on. Nothing of it is loaded by a server, nor by `--help`.
"""
