"""Runnable studies: copy one and edit it."""
