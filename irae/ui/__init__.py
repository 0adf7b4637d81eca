"""The page of ``irae ui``: a server for the browser on the same machine."""
