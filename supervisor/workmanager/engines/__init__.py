"""Turn code of a media type into something an executor can run."""
