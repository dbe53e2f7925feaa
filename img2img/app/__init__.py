"""Models for people, as a web page (demo), and for programs, over HTTP (api)."""
