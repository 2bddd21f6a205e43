"""From folders of files to batches: discovery, readers, Ray Data pipelines, shards."""
