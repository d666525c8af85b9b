"""Crash tests: usage to cost of a small slice, with faults at named points and random moments.

`make crash SEEDS=n` runs seeds; each seed is one scenario, and the same seed gives the same one.
"""
