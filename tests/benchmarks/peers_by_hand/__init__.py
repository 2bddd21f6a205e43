"""What users of other libraries write for the training that `peers` measures, after their documentation."""
