"""The pure heart of paper trading: values in, values out. No Django, no clock, no I/O."""
