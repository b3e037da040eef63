"""The application: what a person sees and keeps. Computes nothing itself; the engine never imports it."""
