"""API keys in a database: control and the commands use it, requests never do.

database    which database, and how to reach it
migrations  its tables, version by version
key_store   what there is to do with keys
sync        from the database to the file that workers read
"""
