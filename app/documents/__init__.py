"""What a person attaches, as text: kinds of files, and the program that reads them. Knows no page, store or engine."""
