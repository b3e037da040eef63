"""Messages to prompt ids, and ids back to text. Knows no models and no devices."""
