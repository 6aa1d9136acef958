"""`motionq exporter`: the queue's figures for Prometheus, read from the queue's server at each scrape."""
