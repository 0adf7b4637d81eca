"""Networks of other papers that remove noise."""
