"""The benchmark house: one table of cases serves parity tests and timing."""
