"""How people say things: orders for the tasks, and questions about the application with their answers."""
