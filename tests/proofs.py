"""How many laws a test has proved equal, so that a run can say how many it proved in all."""

PROPERTY = "laws proved equal"

count = 0
