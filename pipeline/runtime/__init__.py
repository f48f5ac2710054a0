"""How blocks are worked on: a bounded pool of threads, what is shown meanwhile, what the process took."""
