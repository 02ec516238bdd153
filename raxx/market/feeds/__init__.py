"""Where quotes come from. Every source yields the same `Quote` and owns the clock of what hears it.

`base` says what a feed is; `tape` reads recorded quotes and `replay` plays them; `simulated`
makes a practice market up.
"""
