"""A pickle of plain data and tensors, read by an interpreter of our own that can do nothing else.

Python's unpickler imports and calls what a pickle names; torch's weights-only one has a list, but takes any
argument: sizes that fill the memory, keys whose hash recurses until the stack ends. Here a name stands for a
row of a table (`table`), whose function checks its arguments and charges what it makes; opcodes are
counted, objects are charged, and nothing is hashed that could collide or recurse.

NOTES
-----
Nothing here imports, and nothing here calls anything but the functions of that table.
"""
