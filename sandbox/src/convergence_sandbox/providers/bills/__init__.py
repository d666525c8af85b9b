"""Bills that disagree with usage on purpose: effects that change a bill, and by how much.

A bill is priced from the stand-in's price table. An effect changes lines of one organization's
bill; usage stays as it is. `statement` says which amount each effect has caused.
"""
