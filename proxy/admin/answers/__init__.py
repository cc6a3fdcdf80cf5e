"""What the doors answer, as types: for the description of them (`proxy.admin.schema`), and for its tests.

Nothing is written by these: the rooms that know a thing write it. A test reads real answers by them, strictly, so that
neither can change without the other.
"""
