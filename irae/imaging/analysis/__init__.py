"""What is wrong with a picture, measured."""
