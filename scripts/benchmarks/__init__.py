"""The suites of `scripts/benchmark.py`.

Every suite is a module with `TITLE`, `run(quick) -> dict` (measured numbers, ready for JSON) and
`markdown(result) -> str` (the tables in docs/performance.md).
"""
