"""What `train-drafter` does, step by step; knows no command line. What is learned is used by `engine.trained`."""
