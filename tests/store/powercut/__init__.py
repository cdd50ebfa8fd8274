"""Cutting the power: what was written and not synced is dropped, and everything acknowledged has to be there.

A library that is preloaded into the server writes down, in order, every change that it makes below a folder,
and every answer that it sends (recorder.c). From any prefix of that log the folder can be made again as a disk
might hold it at that moment: what was synced is there, and of the rest nothing, or any part (disk.py).
"""
