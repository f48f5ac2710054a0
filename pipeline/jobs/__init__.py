"""What the commands do, each in one straight line: run, fit, predict, plan, inspect, init, demo."""
