"""What is wrong with a picture, and the task that is chosen for it by what models would gain."""
