"""The durable store from the inside: its parts, its invariants, crashes, faults, and collection under load."""
