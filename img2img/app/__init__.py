"""Models for people and programs: a page in the browser (demo), and HTTP (api)."""
