"""Models from the Hub: looking them up and downloading them into its cache. No torch."""
