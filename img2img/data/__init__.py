"""Folders of pictures as endless, exactly repeatable streams of training batches."""
