"""The purchase protocol as a model, searched through for every order of events.

`world` is what there is, `scripts` what one Lua call does (it interprets the moves of `contract/states.py`), `steps`
what workers do, `outside` the vendor, callbacks, people and faults, `safety` what must hold, `runs` the searches, and
`explore` searches.
"""
