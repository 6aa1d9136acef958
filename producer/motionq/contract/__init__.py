"""What producer and worker agree on: the job record, its states, its keys, and the one store that touches them."""
