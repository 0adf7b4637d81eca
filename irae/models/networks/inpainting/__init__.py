"""Networks of other papers that fill holes."""
