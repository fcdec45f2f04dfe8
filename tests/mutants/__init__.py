"""The mutation check: faults that a tired programmer makes, each put in by a script, each caught by the tests.

`fault`         what a fault is, and how it is put in
`faults`        the table: of the kernel end, of `wire` and `bridges`, of the frontend end, of the Python kernel
`trial`         one run of tests on a private copy of the tree
`table`         what became of them, printed and kept
`__main__`      the command that tries the faults and prints what caught them
`TABLE.md`      the last verdict on each
"""
