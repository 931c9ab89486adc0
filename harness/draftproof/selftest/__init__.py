"""The self-test: faults that engines really ship, planted in this one, and what catches them."""
