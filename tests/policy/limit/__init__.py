"""Tests of rate limits: pure, with the clock in hand."""
