"""Measuring the quality and the speed of translators."""
