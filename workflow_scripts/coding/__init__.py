"""What `scores` and `deploy` share: codecs fitted on training texts, and applied to vectors."""
