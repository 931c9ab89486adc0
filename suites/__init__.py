"""The domain suites; in an installed wheel: pytest --pyargs draftproof.suites --report."""
