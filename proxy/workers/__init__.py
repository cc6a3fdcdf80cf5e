"""Several processes behind one port: `tollhouse serve --workers N`.

A worker is a replica like any other: it has a name, a journal and figures of its own, and agrees with the others by way
of the store. Here is only what ties it to the process that started it, and the port that all of them share. The
supervisor loads none of the rooms that serve: it is there for months, and small.
"""
