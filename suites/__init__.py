"""The domain suites; in an installed wheel: pytest --pyargs harness.suites --report."""
